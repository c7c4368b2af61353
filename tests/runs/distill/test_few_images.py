"""What is said of a teacher that few validation images have seen."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]


def test_few_images_give_an_interval_and_no_verdict(command: Command) -> None:
    few = [*TINY, "dataset.samples=36"]
    assert command(*few, "name=teacher", "trainer.epochs=6", "optimizer.lr=0.01", "dataset.val_fraction=0.17").code == 0
    words = ["strategy=distill", "strategy.teacher.weights=outputs/runs/teacher", "dataset.val_fraction=0.17"]
    ended = command(*few, *words, "name=taught")
    assert ended.code == 0, ended.err
    assert "of 6 validation images: " in ended.out and "so few cannot tell" in ended.out
    assert "no better than chance" not in ended.out
