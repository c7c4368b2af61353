"""Whole runs on several ranks: one directory, and what one process would have made of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import TINY, Ended, experiment, logged, start, summary
from tests.gloo import on_ranks, on_ranks_that_end
from transfer_cli.engine import frozen
from transfer_cli.engine.ranks.parallel import Parallel
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.state_files import damage, load, states_in
from transfer_cli.engine.steps.check import DivergedStep, DivergenceError
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import FirstRankEnded, RunError, Stopped
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import evaluation, loop_job
from transfer_cli.runs.distill import teacher
from transfer_cli.runs.finetune import mixing
from transfer_cli.runs.frozen import activation_caching, features
from transfer_cli.runs.ranks.join import follow
from transfer_cli.runs.states import divergence
from transfer_cli.runs.train import train

# LayerNorm, so that no image depends on the others of its batch.
VIT = [*TINY, "model.name=test_vit", "dataset.samples=50", "augment.mixup=0.3", "augment.cutmix=1", "tune=off"]


class StopsAt(Stop):
    """As if a signal came before so many looks at it."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        super().__init__()

    @property
    def code(self) -> int | None:
        self.looks -= 1
        return 75 if self.looks < 0 else None

    @code.setter
    def code(self, value: int | None) -> None:
        pass


def run(world: World, folder: str, words: list[str], looks: int | None = None) -> str | None:
    """One run on all ranks; on the first, how it ended."""
    os.chdir(folder)
    os.environ["TRANSFER_RUN_CACHE"] = f"{folder}/cache"
    if not world.is_first:
        with pytest.raises((FirstRankEnded, Stopped)):
            follow(world)
        # The first waits for the others to learn of its end.
        world.end(0, lost=False)
        return None
    try:
        e = experiment(*words)
        assert e.name is not None
        stop = None if looks is None else StopsAt(looks)
        train(e, Path("outputs/runs") / e.name, Reporter(quiet=True), world=world, stop=stop)
        return "completed"
    except Stopped as stopped:
        return str(stopped)
    finally:
        world.end(0, lost=False)


def tensors(name: str) -> dict[str, torch.Tensor]:
    return load_file(f"outputs/runs/{name}/model.safetensors")


def furthest(one: str, other: str) -> float:
    a, b = tensors(one), tensors(other)
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def log(name: str) -> list[dict[str, Any]]:
    return logged(Path(f"outputs/runs/{name}/metrics.jsonl"))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_two_ranks_make_the_run_of_one(tmp_path: Path) -> None:
    for size in (1, 2):
        assert on_ranks(size, run, str(tmp_path), [*VIT, f"name=of{size}"])[0] == "completed"
    assert sorted(path.name for path in Path("outputs/runs").iterdir()) == ["of1", "of2"]
    assert furthest("of1", "of2") < 1e-6
    for ours, theirs in zip(log("of1"), log("of2"), strict=True):
        assert ours["split"] == theirs["split"] and ours["accuracy"] == theirs["accuracy"]
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-6)
    predictions = [Path(f"outputs/runs/of{size}/predictions.csv").read_text().splitlines() for size in (1, 2)]
    assert [line.rsplit(",", 1)[0] for line in predictions[0]] == [line.rsplit(",", 1)[0] for line in predictions[1]]
    assert summary("outputs/runs/of1")["config_hash"] == summary("outputs/runs/of2")["config_hash"]


PARTS = "trainer.sharding=full"
"""Each rank has a part of the parameters."""


@pytest.mark.parametrize(("before", "after"), [([PARTS], []), pytest.param([], [PARTS], marks=pytest.mark.slow)])
def test_a_state_of_ranks_with_parts_is_whole_and_any_state_is_theirs(
    before: list[str], after: list[str], tmp_path: Path
) -> None:
    words = [*VIT, "strategy.ema=0.5", "strategy.unfreeze=3", "trainer.clip_grad=0.5", "trainer.accumulate=2"]
    assert on_ranks(1, run, str(tmp_path), [*words, "name=whole"])[0] == "completed"
    assert "state saved" in on_ranks(1 + len(before), run, str(tmp_path), [*words, *before, "name=some"], 2)[0]
    assert _shapes("outputs/runs/some") == _shapes("outputs/runs/whole")
    again = [*words, *after, "name=some", "resume=auto"]
    assert on_ranks(1 + len(after), run, str(tmp_path), again)[0] == "completed"
    assert furthest("whole", "some") < 1e-6
    for ours, theirs in zip(log("whole"), log("some"), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-6)
    said = Path("outputs/runs/some/run.log").read_text()
    assert "shared out: trainer.sharding=full" in said and "nobody to share with" not in said


def _shapes(run: str) -> dict[str, dict[str, Any]]:
    """Of all tensors in the last state of a run, by part."""
    state = load(states_in(Path(run) / "checkpoints")[-1])
    return {name: {key: tensor.shape for key, tensor in part.tensors.items()} for name, part in state.parts.items()}


MIXED = [*VIT, "model.weights=outputs/runs/teacher", "dataset.num_classes=4", "strategy.wise_ft=true", "tune=off"]
TAUGHT = [*VIT, "strategy=distill", "strategy.teacher.weights=outputs/runs/teacher", "strategy.use_teacher=true"]
TAUGHT += ["strategy.teacher.allow_chance=true", "augment.mixup=0", "augment.cutmix=0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [*VIT, "strategy.adapter=lora", "strategy.adapter_rank=2"],
        [*VIT, "strategy.gradual=1", "trainer.epochs=3"],
        [*VIT, "strategy.unfreeze=1", "augment.views=2", "augment.mixup=0", "augment.cutmix=0", "strategy.cache=true"],
        [*VIT, "strategy.l2sp.alpha=0.01", "strategy.sam=0.05", "optimizer=sgd"],
        [*VIT, "strategy.unfreeze=head"],
        [*TINY, "trainer.sync_batch_norm=true", "optimizer=sgd", "optimizer.lr=0.01", "tune=off"],
        [*VIT, "model.weights=outputs/runs/teacher", "strategy.delta.weight=0.01", "strategy.head_init=probe"],
        MIXED,
        TAUGHT,
        [*TAUGHT, "strategy.loss.hint=1"],
        [*TAUGHT, "strategy.loss.crd=0.5", "augment.views=2"],
        [*TAUGHT, "strategy.generations=2"],
    ],
    ids=[
        "lora",
        "gradual",
        "cached",
        "l2sp",
        "head",
        "batch_norm",
        "delta",
        "mixed",
        "taught",
        "hint",
        "crd",
        "generations",
    ],
)
def test_whatever_trains_ranks_with_parts_make_the_run_of_ranks_that_have_all(words: list[str], tmp_path: Path) -> None:
    on_ranks(1, run, str(tmp_path), [*VIT, "trainer.epochs=1", "name=teacher"])
    for name, more in (("all", []), ("parts", [PARTS])):
        assert on_ranks(2, run, str(tmp_path), [*words, *more, f"name={name}"])[0] == "completed"
    assert furthest("all", "parts") < 1e-5
    assert ("mixed     " in Path("outputs/runs/parts/run.log").read_text()) == ("strategy.wise_ft=true" in words)


def run_stopped_while_mixing(world: World, folder: str, words: list[str], rank: int) -> str | None:
    """`run`, with a signal to one rank while weights are mixed."""
    real = mixing.interpolated

    def signalled(*given: Any) -> dict[str, torch.Tensor]:
        signal.raise_signal(signal.SIGTERM)
        return real(*given)

    # Its process goes on with other tests.
    with pytest.MonkeyPatch.context() as patched:
        if world.rank == rank:
            patched.setattr(mixing, "interpolated", signalled)
        return run(world, folder, words)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_all_ranks_end_where_a_signal_comes_while_weights_are_mixed(rank: int, tmp_path: Path) -> None:
    on_ranks(1, run, str(tmp_path), [*VIT, "trainer.epochs=1", "name=teacher"])
    assert on_ranks(2, run, str(tmp_path), [*MIXED, "name=whole"])[0] == "completed"
    ended = on_ranks(2, run_stopped_while_mixing, str(tmp_path), [*MIXED, "name=parts"], rank)
    assert ended[0].startswith("after the last epoch, state saved")
    assert on_ranks(2, run, str(tmp_path), [*MIXED, "name=parts", "resume=auto"])[0] == "completed"
    assert furthest("whole", "parts") == 0


@pytest.mark.slow
def test_a_rank_without_memory_for_its_parts_ends_all_with_the_states_before(tmp_path: Path) -> None:
    words = [*VIT, PARTS]
    ended = on_ranks_that_end(2, run_out_of_memory, str(tmp_path), [*words, "name=short"], 0)
    assert ended[0].startswith("NoRoomError") and ended[1].startswith("LostRankError")
    newest = states_in(Path("outputs/runs/short/checkpoints"))[-1]
    assert damage(newest) is None and load(newest).parts["progress"].values["cursor"]["step"] == 3
    assert on_ranks(2, run, str(tmp_path), [*words, "name=short", "resume=auto"])[0] == "completed"
    assert "memory    4 images at a time" in Path("outputs/runs/short/run.log").read_text()


@pytest.mark.slow
def test_one_process_says_that_it_has_nobody_to_share_with(command: Callable[..., Ended]) -> None:
    ended = command(*TINY, PARTS, "tune=off", "trainer.epochs=1", "name=alone")
    assert ended.code == 0 and "trainer.sharding=full: one process has nobody to share with" in ended.out


def run_in_small_batches(world: World, folder: str, words: list[str]) -> str | None:
    """One run that evaluates two images at a time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (loop_job, evaluation):
            patch.setattr(module, "BATCH_SIZE", {"cpu": 2})
        return run(world, folder, words)


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "share", "images"), [(7, 0.1, 7), (2, 0.02, 2), (3, 0.0, 0)])
def test_the_test_split_is_seen_once_however_few_images_it_has(
    classes: int, share: float, images: int, tmp_path: Path
) -> None:
    words = [*VIT, "dataset.samples=70", f"dataset.num_classes={classes}", f"dataset.test_fraction={share}"]
    words += ["optimizer=sgd", "optimizer.lr=1e-30", "optimizer.weight_decay=0", "trainer.epochs=1"]
    for size in (1, 2, 3):
        assert on_ranks(size, run_in_small_batches, str(tmp_path), [*words, f"name=of{size}"])[0] == "completed"
    runs = [Path(f"outputs/runs/of{size}") for size in (1, 2, 3)]
    assert all(summary(one)[split] == summary(runs[0])[split] for one in runs for split in ("val", "test"))
    assert (summary(runs[0])["test"] is None) == (images == 0)
    for one in runs if images else []:
        assert (one / "predictions.csv").read_bytes() == (runs[0] / "predictions.csv").read_bytes()
        assert len((one / "predictions.csv").read_text().splitlines()) == images + 1


@pytest.mark.slow
def test_two_ranks_that_normalise_together_make_the_run_of_one(tmp_path: Path) -> None:
    """Of a network whose BatchNorm, timm's own with an activation, brings images together."""
    words = [*TINY, "trainer.sync_batch_norm=true", "optimizer=sgd", "optimizer.lr=0.01", "tune=off"]
    for size in (1, 2):
        assert on_ranks(size, run, str(tmp_path), [*words, f"name=of{size}"])[0] == "completed"
    assert furthest("of1", "of2") < 1e-4
    on_ranks(2, run, str(tmp_path), [*words, "trainer.sync_batch_norm=false", "name=apart"])
    assert furthest("of1", "apart") > 1e-3
    assert "over the 16 images of all ranks" in Path("outputs/runs/of2/run.log").read_text()


def run_out_of_memory(world: World, folder: str, words: list[str], short: int) -> str:
    """One run in which a rank has no memory for its share of the fourth step; how that ended here."""
    forward, calls = Parallel.__call__, iter(range(100))

    def call(self: Parallel, batch: Any) -> Any:
        if world.rank == short and next(calls) == 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parallel, "__call__", call)
        with pytest.raises(RunError) as error:
            run(world, folder, words)
    return f"{type(error.value).__name__}: {error.value}"


@pytest.mark.slow
@pytest.mark.parametrize("short", [0, 1])
def test_a_rank_without_memory_ends_all_and_the_run_goes_on_with_fewer_images_at_a_time(
    short: int, tmp_path: Path
) -> None:
    words = [*VIT, "trainer.epochs=2"]
    assert on_ranks(2, run, str(tmp_path), [*words, "name=whole"])[0] == "completed"
    ended = on_ranks_that_end(2, run_out_of_memory, str(tmp_path), [*words, "name=short"], short)
    assert (
        ended[short].startswith("NoRoomError: out of memory with 8 images at a time") and "4 at a time" in ended[short]
    )
    assert ended[1 - short].startswith("LostRankError: another process of this training had no memory")
    assert summary("outputs/runs/short")["status"] == "failed"
    # The state of the first epoch, and that of the step which could not be taken.
    newest = states_in(Path("outputs/runs/short/checkpoints"))[-1]
    assert damage(newest) is None and load(newest).parts["progress"].values["cursor"]["step"] == 3
    assert on_ranks(2, run, str(tmp_path), [*words, "name=short", "resume=auto"])[0] == "completed"
    assert "memory    4 images at a time" in Path("outputs/runs/short/run.log").read_text()
    assert furthest("whole", "short") < 1e-6


@pytest.mark.slow
def test_what_was_stopped_goes_on_to_the_same_bits_on_as_many_ranks(tmp_path: Path) -> None:
    words = [*TINY, "strategy.drop_path=0.2", "strategy.ema=0.9", "tune=off"]
    assert on_ranks(2, run, str(tmp_path), [*words, "name=whole"])[0] == "completed"
    assert "state saved" in on_ranks(2, run, str(tmp_path), [*words, "name=parts"], 1)[0]
    assert on_ranks(2, run, str(tmp_path), [*words, "name=parts", "resume=auto"])[0] == "completed"
    assert all(torch.equal(tensor, tensors("parts")[name]) for name, tensor in tensors("whole").items())
    assert log("whole") == log("parts")


def run_in_small_stripes(world: World, folder: str, words: list[str]) -> str | None:
    """One run whose frozen passes go batch by batch, and which no rank begins before each has its first."""
    counts, outputs = Path(folder) / f"of{world.size}", frozen.outputs

    def after_all_have_come(*arguments: Any) -> Any:
        counts.mkdir(exist_ok=True)
        (counts / str(world.rank)).touch()
        while len(list(counts.iterdir())) < world.size:
            time.sleep(0.01)
        return outputs(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "STRIPE_BATCHES", {"cpu": 1})
        for module in (activation_caching, features, teacher):
            patch.setattr(module, "BATCH_SIZE", {"cpu": 4})
        patch.setattr(frozen, "outputs", after_all_have_come)
        return run(world, folder, words)


EXTRACT = [*TINY, "strategy=extract", "augment.views=2", "tune=off"]
UNLABELLED = [word for word in TINY if not word.startswith("dataset")]
UNLABELLED += ["strategy=extract", "dataset=folder", "dataset.path=photos", "dataset.labels=none", "tune=off"]


@pytest.mark.parametrize(
    "words",
    [
        EXTRACT,
        pytest.param([*EXTRACT, "strategy.solver=lbfgs", "augment=none"], marks=pytest.mark.slow),
        pytest.param(UNLABELLED, marks=pytest.mark.slow),
    ],
)
def test_features_are_computed_by_all_ranks_and_are_those_of_one(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for shade in range(30):
        Image.new("RGB", (40, 40), (shade * 8, 255 - shade, 7)).save(tmp_path / "photos" / f"{shade}.png")
    for size in (1, 2):
        given = [*words, f"cache_dir={tmp_path}/cache{size}", f"name=of{size}"]
        assert on_ranks(size, run_in_small_stripes, str(tmp_path), given)[0] == "completed"
    one, two = (summary(f"outputs/runs/of{size}") for size in (1, 2))
    assert one["backbone_images"] == two["backbone_images"] and two["ranks"] == 2 and "ranks" not in one
    made = "features.safetensors" if "dataset.labels=none" in words else "model.safetensors"
    for name in (made, "index.csv" if "dataset.labels=none" in words else "predictions.csv"):
        assert Path(f"outputs/runs/of1/{name}").read_bytes() == Path(f"outputs/runs/of2/{name}").read_bytes()
    entries = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("rows.bin")} for root in tmp_path.glob("cache?")
    ]
    assert entries[0] == entries[1] and entries[0]


def run_with_a_signal_at_test(world: World, folder: str, words: list[str]) -> str | None:
    """One run of which the last rank alone gets SIGTERM, once it looks at the test split."""
    predict = loop_job.predict

    def after_a_signal(*arguments: Any) -> Any:
        if world.rank == world.size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return predict(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_job, "BATCH_SIZE", {"cpu": 2})
        patch.setattr(loop_job, "predict", after_a_signal)
        return run(world, folder, words)


@pytest.mark.slow
def test_a_signal_to_another_rank_while_the_test_split_is_seen_leaves_the_run_unfinished(tmp_path: Path) -> None:
    words = [*TINY, "trainer.epochs=1", "tune=off", "name=late"]
    assert "after the last epoch, state saved" in on_ranks(2, run_with_a_signal_at_test, str(tmp_path), words)[0]
    assert summary("outputs/runs/late")["status"] == "preempted"


def diverges(world: World, folder: str) -> str:
    """A step of which each rank has seen one image, but for the last, which has seen none."""
    world.join()
    own = [10 + world.rank] if world.is_first or world.rank < world.size - 1 else []
    error = DivergenceError("not finite.", DivergedStep(4, 1, float("nan"), 1.0, 0.1, own))
    materials: Any = SimpleNamespace(images=SimpleNamespace(ids=list(range(20))), experiment=SimpleNamespace(seed=7))
    # The others must not write: they have no such folder.
    there = Path(folder) if world.is_first else Path(folder) / "nowhere"
    return str(divergence.record(there, error, materials, world))


def test_the_images_of_all_ranks_are_kept_of_a_step_that_diverged(tmp_path: Path) -> None:
    assert all("diverged.json" in message for message in on_ranks(3, diverges, str(tmp_path)))
    step = divergence.read(tmp_path)
    assert step["indices"] == step["images"] == [10, 11] and step["ranks"] == 3 and step["step"] == 4
    diverges(ALONE, str(tmp_path))
    assert list(divergence.read(tmp_path)) == [key for key in step if key != "ranks"]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 3), (3, 2)])
def test_what_was_stopped_goes_on_on_any_number_of_ranks(before: int, after: int, tmp_path: Path) -> None:
    words = [*VIT, "trainer.accumulate=2", "trainer.clip_grad=0.5", "trainer.epochs=4"]
    on_ranks(1, run, str(tmp_path), [*words, "name=whole"])
    assert "state saved" in on_ranks(before, run, str(tmp_path), [*words, "name=parts"], 4)[0]
    assert on_ranks(after, run, str(tmp_path), [*words, "name=parts", "resume=auto"])[0] == "completed"
    assert furthest("whole", "parts") < 1e-6
    losses = [np.array([line["loss"] for line in log(name)]) for name in ("whole", "parts")]
    assert np.abs(losses[0] - losses[1]).max() < 1e-6


@pytest.mark.slow
def test_what_ends_all_ranks_is_said_once(tmp_path: Path) -> None:
    process = start(*TINY, "trainer.devices=2", "optimizer=sgd", "optimizer.lr=1e30", "tune=off", "name=far")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 3
    assert error.startswith("error: the loss or its gradient is not finite at step") and error.count("\n") == 1
    assert summary("outputs/runs/far")["status"] == "failed"
    step = divergence.read(Path("outputs/runs/far"))
    assert step["ranks"] == 2 and len(set(step["indices"])) == len(step["indices"]) in (10, 16)


@pytest.mark.slow
def test_jobs_of_a_sweep_train_on_several_ranks(tmp_path: Path) -> None:
    words = [*TINY, "-m", "seed=0,1", "trainer.devices=2", "tune=off", "trainer.epochs=1", "name=both"]
    process = start(*words)
    process.communicate(timeout=240)
    assert process.returncode == 0
    jobs = [*Path("outputs/sweeps/both").glob("seed-*")]
    assert len(jobs) == 2
    for job in jobs:
        found = summary(job)
        assert found["status"] == "completed" and found["ranks"] == 2
