"""strategy=finetune, as a user runs it: what is printed and written, and that resuming changes nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import TINY, Ended, experiment, logged, summary
from tests.runs.test_train import same_result
from tests.strategies.networks import tiny
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.finetune import job as finetune

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")

# Ways to train, each of which must survive a stop anywhere.
WAYS: dict[str, list[str]] = {
    "gradual": ["strategy.gradual=1"],
    "gradual behind a cached prefix": ["strategy.gradual=1", "strategy.unfreeze=2", "augment=none"],
    "average, sharpness, depth": ["strategy.ema=0.9", "strategy.sam=0.05", "strategy.drop_path=0.3"],
    "mixed": ["augment.mixup=0.4", "augment.cutmix=1.0", "augment.views=2"],
    "low rank": ["strategy.adapter=lora", "strategy.adapter_rank=2", "strategy.ema=0.5"],
    "head first": ["strategy.head_first=3", "strategy.unfreeze=1", "augment=none"],
    "penalties": ["strategy.l2sp.alpha=0.1", "strategy.bss.weight=0.01", "strategy.delta.weight=0.1"],
    "plateau": ["scheduler=plateau", "scheduler.patience=1", "scheduler.warmup=0"],
}


def test_the_table_of_groups_is_said_and_written(command: Command) -> None:
    ended = command(
        *TINY, "name=one", "strategy.unfreeze=2", "strategy.gradual=1", "strategy.head_lr=10", "optimizer.lr=0.002"
    )
    assert ended.code == 0, ended.err
    line = "rates     stem to layer3 frozen, layer4 0.002 from epoch 2, head 0.02"
    assert line in ended.out.splitlines()
    with (RUNS / "one" / "parameters.csv").open() as file:
        rows = list(csv.DictReader(file))
    head = [row for row in rows if row["stage"] == "head"]
    assert [(row["learning_rate"], row["weight_decay"], row["trains_from_epoch"]) for row in head] == [
        ("0.02", "0.01", "1"),
        ("0.02", "0.0", "1"),
    ]
    assert [row["trains_from_epoch"] for row in rows if row["stage"] == "layer3"] == [""]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    command: Command, stop_at: Callable[[int | None], None], way: list[str]
) -> None:
    way = [*way, "trainer.epochs=4"]
    assert command(*TINY, *way, "name=whole").code == 0
    # Inside the first epoch, after the second has begun, and wherever that leaves the third stop.
    for looks in (3, 9, 9):
        stop_at(looks)
        ended = command(*TINY, *way, "name=parts", "resume=auto")
        assert ended.code == 75, ended.out + ended.err
    stop_at(None)
    assert command(*TINY, *way, "name=parts", "resume=auto").code == 0
    assert same_result(RUNS / "whole", RUNS / "parts")


@pytest.mark.parametrize("views", [["augment=none"], ["augment=light", "augment.views=2"]], ids=["plain", "views"])
@pytest.mark.parametrize("unfreeze", ["1", "2", "head"])
def test_a_cached_prefix_changes_no_bit(command: Command, views: list[str], unfreeze: str) -> None:
    words = [*TINY, *views, f"strategy.unfreeze={unfreeze}"]
    for cache in ("true", "false"):
        ended = command(*words, f"strategy.cache={cache}", f"name=cached_{cache}")
        assert ended.code == 0, ended.err
    assert same_result(RUNS / "cached_true", RUNS / "cached_false")


def test_the_average_is_evaluated_kept_and_shown_beside_the_weights(command: Command) -> None:
    assert command(*TINY, "strategy.ema=0.9", "strategy.head_init=model", "name=average").code == 0
    run = RUNS / "average"
    events = logged(run / "metrics.jsonl")
    assert [e["split"] for e in events] == ["train", "val", "val_raw"] * 2 + ["test"]
    assert events[1]["loss"] != events[2]["loss"]
    last = sorted((run / "checkpoints").glob("state-*"))[-1]
    kept, states = (
        load_file(run / "model.safetensors"),
        [load_file(last / f"{n}.safetensors") for n in ("average", "network")],
    )
    assert all(kept[name].equal(states[0][name]) for name in kept)
    assert not kept["fc.weight"].equal(states[1]["fc.weight"])


def test_mixing_keeps_a_prefix_from_being_cached_and_says_so(command: Command) -> None:
    ended = command(*TINY, "augment=none", "augment.mixup=0.2", "strategy.unfreeze=head")
    assert ended.code == 0, ended.err
    line = next(line for line in ended.out.splitlines() if line.startswith("prefix"))
    assert line.endswith("runs in every epoch: mixup and cutmix mix images before it")


def test_training_ends_where_validation_no_longer_improves(command: Command) -> None:
    """At a rate that moves nothing, the first epoch stays the best."""
    still = ["optimizer=sgd", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "strategy.batch_norm=frozen"]
    still += ["strategy.head_init=model"]
    ended = command(*TINY, *still, "trainer.epochs=9", "trainer.patience=2", "name=short")
    assert "has not improved for 2 epochs" in ended.out
    result = summary(RUNS / "short")
    assert (result["epochs"], result["best_epoch"]) == (3, 1)


def test_a_plateau_lowers_the_rate(command: Command) -> None:
    still = ["optimizer=sgd", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "strategy.batch_norm=frozen"]
    still += ["strategy.head_init=model"]
    plateau = ["scheduler=plateau", "scheduler.warmup=0", "scheduler.patience=1", "scheduler.factor=0.5"]
    assert command(*TINY, *still, *plateau, "trainer.epochs=4", "name=flat").code == 0
    rates = [e["learning_rate"] for e in logged(RUNS / "flat" / "metrics.jsonl") if e["split"] == "train"]
    assert rates == pytest.approx([1e-12, 1e-12, 0.5e-12, 0.25e-12], abs=0)


@pytest.mark.parametrize("augment", ["augment=none", "augment=standard"])
def test_finetuning_starts_at_the_probes_accuracy(command: Command, augment: str) -> None:
    """The same number at step 0, which no random head has: it is the probe's own."""
    ended = command(*TINY, augment, "strategy.head_first=8", "name=first", "dataset.samples=200")
    assert ended.code == 0, ended.err
    start = logged(RUNS / "first" / "metrics.jsonl")[0]
    assert (start["step"], start["epoch"], start["split"]) == (0, 0, "val")
    probe = [e["accuracy"] for e in logged(RUNS / "first" / "probe.jsonl") if e["split"] == "val"]
    assert start["accuracy"] == max(probe)
    assert f"{100 * max(probe):.2f} % on validation" in ended.out
    assert json.loads((RUNS / "first" / "model.json").read_text())["head"]["kind"] == "probe"


@pytest.mark.parametrize("kind", ["lora", "linear", "bitfit"])
def test_adapters_are_merged_into_the_plain_architecture(command: Command, kind: str) -> None:
    words = ["strategy.adapter_rank=2", "optimizer.lr=0.01", "name=adapted"]
    ended = command(*TINY, f"strategy.adapter={kind}", *words)
    assert ended.code == 0, ended.err
    run = RUNS / "adapted"
    exported = load_file(run / "model.safetensors")
    assert exported.keys() == tiny().module.state_dict().keys()
    # The scores before merging, which chose the epoch, are those of the exported model.
    evaluated = command("mode=evaluate", f"run={run}", "split=val", "trainer.device=cpu")
    assert evaluated.code == 0, evaluated.err
    loss = json.loads((run / "evaluation.json").read_text())["loss"]
    assert loss == pytest.approx(summary(run)["val"]["loss"], abs=1e-5)
    saved = load_file(sorted((run / "checkpoints").glob("state-*"))[-1] / "network.safetensors")
    assert (saved.keys() == exported.keys()) == (kind == "bitfit")


@pytest.mark.parametrize(("steps", "epochs"), [("1", 1), ("7", 2), ("bit", 167)])
def test_a_number_of_steps_becomes_whole_epochs(steps: str, epochs: int) -> None:
    """Of 42 images in batches of 16, an epoch has three steps; 500 of them are the BiT rule for a small set."""
    job = finetune.prepare(experiment(*TINY, f"trainer.steps={steps}"), Reporter(quiet=True), Stop(), None)
    assert len(job.materials.images.splits["train"]) == 42
    assert job.materials.plan.epochs == epochs


@pytest.mark.parametrize(("words", "warns"), [([], True), (["strategy.batch_norm=frozen"], False)])
def test_statistics_of_batches_under_a_fitted_head_are_warned_of(
    command: Command, words: list[str], warns: bool
) -> None:
    ended = command(*TINY, "trainer.epochs=1", "strategy.head_first=1", *words)
    assert ("BatchNorm's stored statistics" in ended.out) == warns
