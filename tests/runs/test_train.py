"""mode=train, as a user runs it: the run directory, repeatability, resuming, odd images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import TINY, Ended, logged, summary
from transfer_cli.records.summary import KEYS
from transfer_cli.runs import train

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")


def same_result(one: Path, other: Path) -> bool:
    """Weights and metrics are equal byte for byte."""
    files = ("model.safetensors", "metrics.jsonl", "predictions.csv")
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_a_run_leaves_a_complete_directory(command: Command) -> None:
    ended = command(*TINY, "name=tiny")
    assert ended.code == 0, ended.err
    run = Path("outputs/runs/tiny")
    assert ended.out.splitlines()[-1] == str(run)
    there = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert there >= {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "model.safetensors",
        "model.json",
        "predictions.csv",
        "run.log",
        "plots/curves.png",
        "plots/confusion_matrix.png",
    }
    result = summary(run)
    assert set(KEYS) <= set(result)
    assert result["status"] == "completed"
    assert all(result[key] is not None for key in KEYS if key != "weights_sha256")
    events = logged(run / "metrics.jsonl")
    assert [(e["epoch"], e["split"]) for e in events[:-1]] == [(1, "train"), (1, "val"), (2, "train"), (2, "val")]
    assert events[-1]["split"] == "test"
    best = max((e for e in events if e["split"] == "val"), key=lambda e: (e["accuracy"], -e["loss"]))
    assert result["best_epoch"] == best["epoch"]
    assert {key: best[key] for key in result["val"]} == result["val"]
    with (run / "predictions.csv").open() as file:
        lines = file.read().splitlines()
    right = sum(line.split(",")[1] == line.split(",")[2] for line in lines[1:])
    assert right / (len(lines) - 1) == result["test"]["accuracy"]
    assert result["parameters"]["total"] == sum(
        t.numel()
        for name, t in load_file(run / "model.safetensors").items()
        if "running" not in name and "num_" not in name
    )
    log = (run / "run.log").read_text()
    assert "epoch 2/2" in log
    assert "\x1b" not in log


def test_quiet_prints_the_directory_alone(command: Command) -> None:
    assert command(*TINY, "name=tiny", "quiet=true").out == "outputs/runs/tiny\n"


def test_without_a_name_runs_of_one_second_do_not_collide(command: Command) -> None:
    for _ in range(2):
        assert command(*TINY, "trainer.epochs=1").code == 0
    runs = list(Path("outputs/runs").iterdir())
    assert len(runs) == 2
    assert all(run.name.split("_", 2)[2].startswith("finetune_test_resnet_fake") for run in runs)


@pytest.mark.parametrize("change", [[], ["trainer.workers=2"]], ids=["same", "workers"])
def test_same_command_same_bytes(command: Command, change: list[str]) -> None:
    assert command(*TINY, "name=one", "augment=standard").code == 0
    assert command(*TINY, "name=two", "augment=standard", *change).code == 0
    assert same_result(Path("outputs/runs/one"), Path("outputs/runs/two"))


def test_another_seed_is_another_run(command: Command) -> None:
    command(*TINY, "name=one")
    command(*TINY, "name=two", "seed=1")
    assert not same_result(Path("outputs/runs/one"), Path("outputs/runs/two"))


def test_the_documented_command_repeats_a_run_from_its_config(command: Command) -> None:
    command(*TINY, "name=one", "optimizer=sgd", "augment.views=2")
    ended = command("--config-path", "outputs/runs/one", "name=two")
    assert ended.code == 0, ended.err
    assert same_result(Path("outputs/runs/one"), Path("outputs/runs/two"))


def test_accumulation_is_the_large_batch(command: Command) -> None:
    """Without BatchNorm, four micro-batches of four make the step of one batch of sixteen, to rounding."""
    convnext = [*TINY, "model.name=test_convnext", "strategy.label_smoothing=0"]
    command(*convnext, "name=large", "trainer.batch_size=16")
    command(*convnext, "name=small", "trainer.batch_size=4", "trainer.accumulate=4")
    large, small = (logged(Path(f"outputs/runs/{name}/metrics.jsonl")) for name in ("large", "small"))
    assert [e["step"] for e in large] == [e["step"] for e in small]
    for one, other in zip(large, small, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)


def test_head_only_leaves_the_backbone_byte_equal(command: Command) -> None:
    """Weights and BatchNorm statistics of frozen stages are those it started from."""
    command(*TINY, "name=start")
    ended = command(*TINY, "name=head", "model.weights=outputs/runs/start", "strategy.unfreeze=head")
    assert ended.code == 0, ended.err
    start, head = (load_file(f"outputs/runs/{name}/model.safetensors") for name in ("start", "head"))
    assert all(start[name].equal(head[name]) for name in start if not name.startswith("fc."))
    assert not start["fc.weight"].equal(head["fc.weight"])
    parameters = summary("outputs/runs/head")["parameters"]
    assert parameters["trainable"] == sum(t.numel() for name, t in head.items() if name.startswith("fc."))


def test_a_broken_loss_stops_before_the_weights_move(command: Command) -> None:
    ended = command(*TINY, "name=wild", "optimizer.lr=1e30", "trainer.epochs=3")
    assert ended.code == 3
    assert "not finite at step" in ended.err
    assert "optimizer.lr" in ended.err
    assert summary("outputs/runs/wild")["status"] == "failed"
    assert not Path("outputs/runs/wild/model.safetensors").exists()


def test_a_complete_run_is_not_trained_again(command: Command) -> None:
    command(*TINY, "name=one", "resume=auto")
    before = Path("outputs/runs/one/summary.json").stat().st_mtime_ns
    ended = command(*TINY, "name=one", "resume=auto")
    assert ended.code == 0
    assert "complete" in ended.out
    assert Path("outputs/runs/one/summary.json").stat().st_mtime_ns == before


def test_resuming_with_other_settings_is_refused(command: Command) -> None:
    command(*TINY, "name=one")
    for words in (["name=one", "resume=auto"], ["resume=outputs/runs/one"]):
        ended = command(*TINY, *words, "optimizer.lr=0.5")
        assert ended.code == 2
        assert "optimizer.lr=0.5" in ended.err


def test_resume_names_a_directory_and_takes_its_settings(command: Command) -> None:
    command(*TINY, "name=one")
    ended = command("resume=outputs/runs/one")
    assert ended.code == 0, ended.err
    assert "complete" in ended.out


def test_the_configuration_in_a_run_is_complete(command: Command) -> None:
    command(*TINY, "name=one")
    values = yaml.safe_load(Path("outputs/runs/one/config.yaml").read_text())
    assert values["optimizer"]["name"] == "adamw"
    assert values["seed"] == 0
    environment = json.loads(Path("outputs/runs/one/environment.json").read_text())
    assert environment["seed"] == 0


def picture(path: Path, mode: str, tone: int, number: int) -> None:
    """A 20 x 16 picture in an unusual mode, brighter for the second class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((16, 20), tone, dtype=np.uint8)
    values[number % 16] = 255 - tone
    grey = Image.fromarray(values)
    if mode == "I;16":
        Image.fromarray(values.astype(np.uint16) * 257).save(path)
    elif mode == "P":
        grey.convert("RGB").quantize(8).save(path)
    else:
        grey.convert(mode).save(path)


MODES = ["RGB", "RGBA", "L", "P", "I;16"]


@pytest.mark.parametrize("layout", ["split", "train only", "flat"])
def test_folders_in_three_layouts_with_odd_images(command: Command, tmp_path: Path, layout: str) -> None:
    tops = {"split": ["train", "val", "test"], "train only": ["train"], "flat": ["."]}[layout]
    for top in tops:
        for label, tone in (("dark", 40), ("light é", 210)):
            for number in range(10):
                picture(tmp_path / "photos" / top / label / f"{number} a.png", MODES[number % 5], tone, number)
    ended = command(
        *[w for w in TINY if "dataset." not in w], "dataset=folder", "dataset.path=photos", "name=f", "seed=3"
    )
    assert ended.code == 0, ended.err
    run = Path("outputs/runs/f")
    assert json.loads((run / "model.json").read_text())["classes"] == ["dark", "light é"]
    counts = {"split": (20, 20, 20)}.get(layout, (12, 4, 4))
    assert f"{counts[0]} train, {counts[1]} val, {counts[2]} test" in ended.out


def test_a_run_that_was_continued_can_be_repeated(command: Command) -> None:
    assert command(*TINY, "name=one").code == 0
    (RUNS / "one" / "summary.json").unlink()
    assert command(*TINY, f"resume={RUNS}/one").code == 0
    assert command(f"--config-path={RUNS}/one", "name=again").code == 0
    assert same_result(RUNS / "one", RUNS / "again")


def test_a_run_that_another_process_has_ended_meanwhile_is_left_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RUNS / "run"
    assert command(*TINY, "name=run", "trainer.epochs=1").code == 0
    (run / "summary.json").rename("summary.json")
    # Called between the look at the run and its lock.
    monkeypatch.setattr(train, "check_decoded", lambda *_: shutil.move("summary.json", run))
    before = (run / "metrics.jsonl").read_bytes()
    ended = command(*TINY, "name=run", "trainer.epochs=1", "resume=auto")
    assert ended.code == 2 and "another process has continued this run meanwhile" in ended.err
    assert (run / "metrics.jsonl").read_bytes() == before


def test_what_a_kill_left_half_written_is_gone_when_the_run_ends(command: Command) -> None:
    run = Path("outputs/runs/run")
    assert command(*TINY, "name=run", "resume=auto").code == 0
    left = [run / ".summary.json.0123abcd.writing", run / "plots" / ".model.safetensors.writing"]
    for file in left:
        file.touch()
    (run / "summary.json").unlink()
    assert command(*TINY, "name=run", "resume=auto").code == 0
    assert not any(file.exists() for file in left)


def test_memory_that_runs_out_is_no_bug(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1048576 bytes.")

    monkeypatch.setattr("transfer_cli.engine.loop.set_rate", full)
    ended = command(*TINY, "name=full")
    assert ended.code == 3
    assert ended.err.startswith("error: out of memory (1.0 MiB more were wanted)")
    assert "out of memory" in summary(RUNS / "full")["error"]


def test_a_complete_run_whose_page_was_not_written_gets_it(command: Callable[..., Ended]) -> None:
    """As a kill between the result and the page leaves it."""
    words = [*TINY, "name=a", "resume=auto", "trainer.epochs=1"]
    assert command(*words).code == 0
    run = Path("outputs/runs/a")
    (run / "report.html").rename(run / ".report.html.0a1b2c3d.writing")
    kept = {file: file.stat().st_mtime_ns for file in run.iterdir() if file.is_file() and "report" not in file.name}
    ended = command(*words)
    assert ended.code == 0 and "nothing to do" in ended.out
    assert (run / "report.html").stat().st_size > 10_000
    assert not list(run.glob(".*writing"))
    assert {file: file.stat().st_mtime_ns for file in kept if file.name != ".lock"}.items() <= kept.items()
