"""What is kept of few images: trained weights, frozen ones, or a mean of both, as validation prefers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import TINY, Ended, summary, trained_on_others
from transfer_cli.runs.finetune import mixing
from transfer_cli.runs.finetune.mixing import kept

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")


@pytest.fixture
def few(command: Command) -> list[str]:
    """Words that start from a network that was trained on other classes, and keep states."""
    more = ["dataset.samples=160", "trainer.epochs=3", "tune=off", "strategy.ema=0"]
    return [*TINY, *trained_on_others(command), *more]


def weights(name: str) -> dict[str, torch.Tensor]:
    return load_file(RUNS / name / "model.safetensors")


@contextmanager
def only(share: float) -> Iterator[None]:
    """Within, validation prefers this share, whatever it is."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mixing, "kept", lambda *_: share)
        yield


def test_the_middle_is_the_mean_of_both_ends(command: Command, few: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for share in (0.0, 0.5, 1.0):
        with only(share):
            ended = command(*few, f"name={share}")
        assert ended.code == 0, ended.err
        assert f"mixed     {share:g} of the trained weights" in ended.out
    frozen, half, trained = (weights(name) for name in ("0.0", "0.5", "1.0"))
    assert any(not torch.equal(frozen[name], trained[name]) for name in trained)
    for name, tensor in half.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (frozen[name] + trained[name]) / 2, rtol=1e-5, atol=1e-6)
    # The end that was not trained is what a run without epochs that learn anything keeps.
    still = ["optimizer=sgd", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "strategy.wise_ft=false"]
    assert command(*few, *still, "strategy.head_init=probe", "name=still").code == 0
    for name, tensor in weights("still").items():
        torch.testing.assert_close(tensor, frozen[name])
    assert summary(RUNS / "0.0")["best_epoch"] == 0
    assert summary(RUNS / "0.0")["val"] == pytest.approx(summary(RUNS / "still")["val"], rel=1e-3)


def test_scores_and_words_are_those_of_what_is_kept(command: Command, few: list[str]) -> None:
    with only(0.75):
        assert command(*few, "name=run").code == 0
    found = summary(RUNS / "run")
    assert found["wise_ft"]["share"] == 0.75
    assert found["wise_ft"]["metric"].keys() == {"0", "0.25", "0.5", "0.75", "1"}
    assert found["val"]["accuracy"] == found["wise_ft"]["metric"]["0.75"]
    assert command("mode=evaluate", f"run={RUNS}/run", "split=val").code == 0
    evaluated = json.loads((RUNS / "run" / "evaluation.json").read_text())
    assert evaluated["accuracy"] == found["val"]["accuracy"]
    said = f"0.75 of the weights of epoch {found['best_epoch']}, 0.25 of the frozen network"
    assert said in (RUNS / "run" / "report.html").read_text()
    assert said in (RUNS / "run" / "README.md").read_text()
    assert "2109.01903" in (RUNS / "run" / "README.md").read_text()


@pytest.mark.parametrize("looks", [pytest.param(4, marks=pytest.mark.slow), 40])
def test_stopped_anywhere_it_keeps_the_same(
    command: Command, few: list[str], stop_at: Callable[[int | None], None], looks: int
) -> None:
    assert command(*few, "name=whole").code == 0
    stop_at(looks)
    assert command(*few, "name=parts", "resume=auto").code == 75
    stop_at(None)
    assert command(*few, "name=parts", "resume=auto").code == 0
    for file in ("model.safetensors", "metrics.jsonl", "predictions.csv"):
        assert (RUNS / "whole" / file).read_bytes() == (RUNS / "parts" / file).read_bytes()
    assert summary(RUNS / "whole")["wise_ft"] == summary(RUNS / "parts")["wise_ft"]


@pytest.mark.slow
def test_a_longer_run_goes_on_from_trained_weights(command: Command, few: list[str]) -> None:
    """And not from what was mixed of them."""
    constant = ["scheduler=constant", "scheduler.warmup=0"]
    assert command(*few, *constant, "trainer.epochs=4", "name=whole").code == 0
    with only(0.25):
        assert command(*few, *constant, "name=parts").code == 0
    assert command(*few, *constant, "name=parts", "trainer.epochs=4", "resume=auto").code == 0
    for name, tensor in weights("whole").items():
        assert torch.equal(tensor, weights("parts")[name])


@pytest.mark.parametrize(
    ("scores", "images", "expected"),
    [
        # Of 100 images at 0.8: 0.04.
        ({0.0: 0.7, 0.75: 0.77, 1.0: 0.8}, 100, 0.75),
        ({0.0: 0.7, 0.75: 0.75, 1.0: 0.8}, 100, 1.0),
        ({0.0: 0.8, 0.75: 0.6, 1.0: 0.5}, 100, 0.0),
        ({0.0: 0.7, 0.75: 0.77, 1.0: 0.8}, 10_000, 1.0),
    ],
)
def test_the_usual_share_gives_way_to_what_is_better_by_a_standard_error(
    scores: dict[float, float], images: int, expected: float
) -> None:
    ranks = {share: (score, 0.0) for share, score in scores.items()}
    assert kept(ranks, "accuracy", images) == expected
    losses = {share: (-score, 0.0) for share, score in scores.items()}
    assert kept(losses, "loss", images) == min(scores, key=lambda share: scores[share])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["strategy.wise_ft=true", "strategy.keep_probe=false"], "strategy.wise_ft=true"),
        (["strategy.wise_ft=half"], "strategy.wise_ft=half"),
    ],
)
def test_what_makes_no_sense_is_refused(command: Command, words: list[str], says: str) -> None:
    ended = command(*TINY, *words)
    assert ended.code == 2 and says in ended.err
