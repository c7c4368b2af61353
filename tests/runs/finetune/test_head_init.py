"""How a new head starts: harmless for every family, and never ending below a head that was fitted first."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, Ended, experiment, logged, summary, trained_on_others, with_classes
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.finetune.job import prepare
from transfer_cli.runs.materials import Materials

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")
QUIET = Reporter(quiet=True)
STARTS = [["strategy.head_init=probe"], ["strategy.head_init=zero", "strategy.keep_probe=true"]]
STILL = ["optimizer=sgd", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "strategy.batch_norm=frozen"]


@pytest.mark.parametrize(
    ("source", "model"),
    [
        *(("timm", f"test_{name}") for name in ("resnet", "convnext", "vit", "efficientnet", "byobnet")),
        *(
            ("torchvision", name)
            for name in ("mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf", "resnet18", "densenet121")
        ),
    ],
)
def test_the_first_loss_is_that_of_guessing(source: str, model: str) -> None:
    words = [f"model.name={model}", f"model.source={source}", "image_size=64", "strategy.label_smoothing=0"]
    job = prepare(experiment(*TINY, "augment=none", "strategy.head_init=zero", *words), QUIET, Stop(), None)
    strategy = job.begin(None, QUIET, Stop()).strategy
    strategy.train_mode(0)
    first = next(job.inputs.shuffled(16).epoch(0))
    with torch.no_grad():
        loss = strategy(job.inputs.to_device(first)).loss.item()
    assert loss == pytest.approx(math.log(3), rel=0.05)


def test_a_head_that_the_weights_bring_is_kept(command: Command) -> None:
    assert command(*TINY, "name=first", "trainer.epochs=4", "optimizer.lr=0.01").code == 0
    assert command(*TINY, *STILL, "name=second", f"model.weights={RUNS}/first", "trainer.epochs=1").code == 0
    before = summary(RUNS / "first")["val"]["accuracy"]
    assert before > 0.5
    assert summary(RUNS / "second")["val"]["accuracy"] == before


def test_rows_of_a_head_are_kept_by_the_names_of_classes(command: Command) -> None:
    """A run whose classes stand in another order, or that has some of them, brings what it knows of each."""
    assert command(*TINY, "name=first", "trainer.epochs=4", "optimizer.lr=0.01").code == 0
    before = summary(RUNS / "first")["val"]["accuracy"]
    assert before > 0.5
    tensors, order = load_file(RUNS / "first" / "model.safetensors"), [2, 0, 1]
    moved = {name: tensor[order] if name.startswith("fc.") else tensor for name, tensor in tensors.items()}
    save_file(moved, RUNS / "first" / "model.safetensors")
    start = [*TINY, *STILL, f"model.weights={RUNS}/first", "trainer.epochs=1", "tune=off"]
    with_classes(RUNS / "first", "class_2", "class_0", "class_1")
    assert command(*start, "name=moved").code == 0
    assert summary(RUNS / "moved")["val"]["accuracy"] == before
    with_classes(RUNS / "first", "class_2", "elk", "class_1")
    ended = command(*start, "strategy.head_init=zero", "strategy.keep_probe=false", "name=some")
    assert "its head kept for 2 of 3 classes" in ended.out
    ours = load_file(RUNS / "some" / "model.safetensors")
    assert torch.allclose(ours["fc.weight"][[1, 2]], tensors["fc.weight"][[1, 2]], atol=1e-6)
    assert ours["fc.weight"][0].abs().max() < 1e-6
    with_classes(RUNS / "first", "ant", "bee", "cow")
    assert "(its head replaced: it knows none of these classes)" in command(*start, "name=none").out


@pytest.fixture
def pretrained(command: Command) -> list[str]:
    """Words that start from a network that was trained on other classes."""
    return [*trained_on_others(command, "trainer.epochs=4"), "dataset.samples=120", "tune=off"]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: "-".join(start))
def test_the_fitted_head_is_a_candidate_for_the_best(command: Command, pretrained: list[str], start: list[str]) -> None:
    ended = command(*TINY, *pretrained, *STILL, *start, "strategy.wise_ft=false", "name=second")
    assert ended.code == 0, ended.err
    assert "head      fitted to the frozen features by L-BFGS" in ended.out
    assert "no epoch was better on validation, by more than chance explains, than the frozen network" in ended.out
    found, first = summary(RUNS / "second"), logged(RUNS / "second" / "metrics.jsonl")[0]
    assert found["best_epoch"] == 0
    assert (first["epoch"], first["step"], first["split"]) == (0, 0, "val")
    assert first["accuracy"] == found["val"]["accuracy"]
    evaluated = command("mode=evaluate", f"run={RUNS}/second", "split=val", "trainer.device=cpu")
    assert repr(found["val"]["accuracy"]) in evaluated.out


def test_training_starts_at_zero_beside_the_candidate(command: Command, pretrained: list[str]) -> None:
    """With the probe as a candidate or without, the epochs are the same."""
    words = [*TINY, *pretrained, "trainer.epochs=2", "strategy.head_init=zero"]
    assert command(*words, "name=with").code == 0
    assert command(*words, "strategy.keep_probe=false", "name=without").code == 0
    ours, theirs = (logged(RUNS / name / "metrics.jsonl") for name in ("with", "without"))
    assert [event["epoch"] for event in ours[:1]] == [0]
    ours, theirs = ([e["loss"] for e in events if e["split"] != "test"] for events in (ours[1:], theirs))
    assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("start", [*STARTS, ["strategy.ema=0.9"]], ids=lambda start: "-".join(start))
@pytest.mark.parametrize("looks", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_stopped_anywhere_it_ends_as_if_it_had_not_been(
    command: Command, pretrained: list[str], stop_at: Callable[[int | None], None], looks: int, start: list[str]
) -> None:
    words = [*TINY, *pretrained, *start]
    assert command(*words, "name=whole").code == 0
    stop_at(looks)
    assert command(*words, "name=parts", "resume=auto").code == 75
    stop_at(None)
    assert command(*words, "name=parts", "resume=auto").code == 0
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (RUNS / "whole" / file).read_bytes() == (RUNS / "parts" / file).read_bytes()


def test_random_weights_have_no_features_to_fit_to(command: Command) -> None:
    ended = command(*TINY, "strategy.head_init=probe", "name=one")
    assert ended.code == 0, ended.err
    assert "fitted to the frozen features" not in ended.out
    assert "strategy.head_init=probe: random weights have no features worth fitting to" in ended.err + ended.out


def test_a_head_is_fitted_once(command: Command) -> None:
    ended = command(*TINY, "strategy.head_init=probe", "strategy.head_first=2")
    assert ended.code == 2
    assert "strategy.head_init=probe, strategy.head_first=2" in ended.err


@pytest.mark.parametrize("words", [["strategy.head_first=2"], ["strategy.head_init=probe"]])
def test_no_image_of_the_test_split_is_computed_for_it(
    command: Command, pretrained: list[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    from transfer_cli.engine.frozen import Frozen
    from transfer_cli.runs.frozen import probe

    made: list[tuple[int, Frozen]] = []
    ours = probe.frozen_prefix

    def remembered(m: Materials, *arguments: Any) -> Frozen:
        images = len(m.images.splits["train"]) + len(m.images.splits["val"])
        made.append((images, ours(m, *arguments)))
        return made[-1][1]

    monkeypatch.setattr(probe, "frozen_prefix", remembered)
    assert command(*TINY, *pretrained, *words, "name=run", "trainer.epochs=1", "augment=none").code == 0
    ((images, frozen),) = made
    assert frozen.images_computed == images < 120
