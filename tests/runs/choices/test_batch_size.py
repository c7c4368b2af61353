"""trainer.batch_size=auto, as a user says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from tests.conftest import TINY, Ended, experiment
from tests.strategies.networks import tiny
from transfer_cli.runs.choices import batch_size

Command = Callable[..., Ended]
AUTO = [word for word in TINY if "batch_size" not in word] + ["trainer.batch_size=auto", "trainer.epochs=1"]


@pytest.mark.parametrize(("words", "size"), [([], 32), (["strategy=extract"], 256)], ids=["finetune", "extract"])
def test_a_cpu_takes_the_usual_number_and_the_run_keeps_it(command: Command, words: list[str], size: int) -> None:
    ended = command(*AUTO, *words, "name=one")
    assert ended.code == 0, ended.err
    said = "auto      trainer.batch_size=32: more would not make a cpu faster"
    assert (said in ended.out) == (size == 32)
    run = Path("outputs/runs/one")
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["batch_size"] == size
    ended = command(*AUTO, *words, "name=one", "resume=auto")
    assert ended.code == 0 and "complete" in ended.out


def test_neither_a_word_nor_nothing_is_a_number(command: Command) -> None:
    for value in ("many", "0"):
        ended = command(*TINY, f"trainer.batch_size={value}")
        assert ended.code == 2 and f"trainer.batch_size={value}" in ended.err and "auto" in ended.err


@pytest.mark.parametrize(
    ("accumulate", "room", "size", "said"),
    [
        (1, 300, 128, "it fits, and an epoch has 20 steps or more so"),
        (2, 300, 64, "it fits, and an epoch has 20 steps or more so"),
        (1, 88, 88, "what the GPU has room for at 32 px in fp32, with a tenth to spare"),
        (40, 300, 32, "it fits, and the training images are few"),
    ],
)
def test_a_gpu_takes_what_is_useful_where_it_has_room(
    accumulate: int, room: int, size: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "probed", lambda network, compute, pixels, most: min(room, most))
    pretrained = SimpleNamespace(build=lambda *_: (tiny(), None), preprocessing=SimpleNamespace(crop_pixels=32))
    images = SimpleNamespace(classes=("a", "b"), splits={"train": range(2_560)})
    e = experiment(*AUTO, f"trainer.accumulate={accumulate}")
    found = batch_size._on_gpu(e, torch.device("cpu"), pretrained, images)  # type: ignore[arg-type]
    assert (found.value, found.reason) == (size, said)
