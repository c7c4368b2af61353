"""What batches carry of a teacher: the same for each (sample, view), kept or live, from any step of an epoch on."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import TINY, experiment
from transfer_cli.data.batches import Batch
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.distill.job import prepare
from transfer_cli.runs.distill.teacher_outputs import TaughtInputs
from transfer_cli.runs.train import train

TAUGHT = [
    *(*TINY, "strategy=distill", "strategy.teacher.model=test_convnext", "strategy.teacher.weights=none"),
    *("strategy.teacher.allow_chance=true", "augment.views=2", "augment.contrast=0.3"),
]


def inputs(*words: str) -> TaughtInputs:
    found = prepare(train, experiment(*TAUGHT, *words), Reporter(quiet=True), Stop(), None).inputs
    assert isinstance(found, TaughtInputs)
    found.compute()
    return found


def of(batch: Batch) -> torch.Tensor:
    assert batch.teacher is not None
    return batch.teacher


def epoch(found: TaughtInputs, number: int, start_step: int = 0) -> list[Batch]:
    return list(found.shuffled(16).epoch(number, start_step))


@pytest.mark.parametrize("size", [32, 48])
def test_kept_and_live_answers_are_equal_for_every_sample_and_view(size: int) -> None:
    words = [f"strategy.teacher.image_size={size}"]
    kept, live = inputs(*words), inputs(*words, "strategy.teacher.cache=false")
    answers: list[dict[int, torch.Tensor]] = []
    for number in (0, 1, 2):
        ours, theirs = epoch(kept, number), epoch(live, number)
        for a, b in zip(ours, theirs, strict=True):
            assert a.inputs.equal(b.inputs) and of(a).equal(of(b))
        rows = [(b.indices.tolist(), of(b)) for b in ours]
        answers.append({index: row for indices, part in rows for index, row in zip(indices, part, strict=True)})
    first, second, again = answers
    assert all(again[index].equal(row) for index, row in first.items())
    assert not any(second[index].equal(row) for index, row in first.items())


@pytest.mark.parametrize("cache", ["true", "false"])
def test_an_epoch_that_goes_on_in_the_middle_has_the_same_answers(cache: str) -> None:
    found = inputs(f"strategy.teacher.cache={cache}", "strategy.teacher.image_size=48")
    whole, rest = epoch(found, 1), epoch(found, 1, start_step=1)
    assert len(rest) == len(whole) - 1
    for batch, expected in zip(rest, whole[1:], strict=True):
        assert batch.indices.equal(expected.indices)
        assert of(batch).equal(of(expected))


def test_pixels_are_shared_where_both_want_the_same() -> None:
    same = "strategy.teacher.model=test_resnet"
    assert inputs(same).teachers[0].same_pixels
    assert not inputs(same, "strategy.teacher.image_size=48").teachers[0].same_pixels
