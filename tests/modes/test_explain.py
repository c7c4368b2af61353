"""mode=explain: a picture an image and a page of all, for convolutions and transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
RUN = Path("outputs/runs/a")


def photos(count: int) -> None:
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(f"photos/{number}.png")


@pytest.mark.parametrize("words", [[], ["model.name=test_vit"], ["strategy=extract", "strategy.solver=ridge"]])
def test_chosen_images(command: Command, words: list[str]) -> None:
    photos(3)
    assert command(*TINY, "name=a", "trainer.epochs=1", "quiet=true", *words).code == 0
    ended = command("mode=explain", f"run={RUN}", "input=photos", "explain.images=2", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    files = sorted((RUN / "explanations").iterdir())
    assert [file.name for file in files] == ["000.png", "001.png", "index.html"]
    with Image.open(files[0]) as picture:
        assert picture.width == 2 * picture.height >= 320
        left, right = np.split(np.asarray(picture.convert("RGB"), np.int64), 2, axis=1)
    # In random features that were never trained nothing need speak for a class.
    assert "strategy=extract" in words or (left != right).any()
    page = files[-1].read_text()
    assert page.count("<img") == 2 and "photos/0.png" in page
    assert str(RUN / "explanations") in ended.out


def test_the_worst_mistakes_and_a_class_that_was_asked_for(command: Command) -> None:
    assert command(*TINY, "name=a", "trainer.epochs=1", "optimizer.lr=1e-6", "quiet=true").code == 0
    ended = command("mode=explain", f"run={RUN}", "explain.label=class_1", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    assert "class_1" in ended.out and (RUN / "explanations/000.png").is_file()
    ended = command("mode=explain", f"run={RUN}", "explain.label=class_9", "trainer.device=cpu")
    assert ended.code == 2 and "explain.label=class_9: no such choice" in ended.err


def test_what_cannot_be_shown_is_said(command: Command) -> None:
    assert command(*TINY, "name=a", "trainer.epochs=0", "quiet=true").code == 0
    ended = command("mode=explain", f"run={RUN}", "input=nowhere")
    assert ended.code == 2 and "nowhere" in ended.err
    assert not (RUN / "explanations").exists()
    ended = command("explain.images=3")
    assert ended.code == 2 and "explain: only mode=explain reads its keys." in ended.err
