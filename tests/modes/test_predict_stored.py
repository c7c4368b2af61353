"""mode=predict decodes nothing that an earlier run has kept, and says of it what it would have said."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import TINY, Ended
from transfer_cli.cache.entries import Cache
from transfer_cli.modes import predict
from transfer_cli.runs.prediction import pixels, stored
from transfer_cli.runs.prediction.ensemble import Ensemble
from transfer_cli.runs.prediction.pixels import Part

Command = Callable[..., Ended]


@pytest.fixture
def words(command: Command) -> list[str]:
    """A model, and the test images that it was scored on: one is broken, one is shown darker than it is."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 6)):
        for label in "ab":
            folder = Path("set", split, label)
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(draw.integers(0, 256, (40, 36, 3), np.uint8)).save(folder / f"{number}.png")
    Path("set/test/a/3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    Image.fromarray(np.full((32, 32), 4000, np.uint16)).save("set/test/b/deep.tif")
    own = ["dataset=folder", "dataset.path=set", "dataset.on_bad=skip", "name=run", "trainer.epochs=1"]
    assert command(*[word for word in TINY if not word.startswith("dataset")], *own).code == 0
    return ["mode=predict", "run=outputs/runs/run", "input=set/test"]


def test_what_is_kept_gives_the_same_rows_and_the_same_words(
    command: Command, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    anew = command(*words, "output=anew.csv", "cache_dir=elsewhere")
    monkeypatch.setattr(predict, "read_ahead", lambda *_: pytest.fail("an image was decoded anew"))
    kept = command(*words, "output=kept.csv")
    assert (anew.code, kept.code) == (0, 0), kept.err
    assert Path("kept.csv").read_bytes() == Path("anew.csv").read_bytes()
    assert kept.out == anew.out.replace("anew.csv", "kept.csv") and kept.err == anew.err
    assert "left out: set/test/a/3.png: " in kept.out + kept.err and "16-bit greys" in kept.out + kept.err


def test_networks_have_the_same_batches_either_way(
    command: Command, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of four and of two round otherwise."""
    seen: list[list[int]] = []

    def probabilities(self: Ensemble, part: Part) -> NDArray[np.float64]:
        seen[-1].append(len(part.images))
        return np.full((len(part.images), 2), 0.5)

    monkeypatch.setattr(Ensemble, "probabilities", probabilities)
    monkeypatch.setattr(Ensemble, "batch_size", 4)
    monkeypatch.setattr(pixels, "IMAGES_A_JOB", 3)
    monkeypatch.setattr(stored, "IMAGES_A_JOB", 3)
    for more in NAMES.values():
        seen.append([])
        assert command(*words, "output=rows.csv", *more).code == 0
    # Of 13 files one is broken.
    assert seen[0] == seen[1] == [5, 6, 1]


def test_without_a_cache_that_can_be_read_all_is_decoded(
    command: Command, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = command(*words, "output=kept.csv")

    def refuses(self: Cache) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.root))

    # As the folder of another user does, but not to root.
    monkeypatch.setattr(Cache, "_folders", refuses)
    anew = command(*words, "output=anew.csv")
    assert (kept.code, anew.code) == (0, 0), anew.err
    assert "/cache: Permission denied; all images are decoded" in anew.out + anew.err
    assert Path("kept.csv").read_bytes() == Path("anew.csv").read_bytes()


@pytest.mark.parametrize("change", ["another image", "a file is gone", "views"])
def test_what_is_not_kept_is_decoded(command: Command, words: list[str], change: str) -> None:
    if change == "another image":
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("set/test/a/0.png")
    if change == "a file is gone":
        Path("set/test/a/0.png").unlink()
        words[2] = "input=list.txt"
        Path("list.txt").write_text("set/test/a/0.png\nset/test/a/1.png\n")
    more = ["augment=light", "predict.views=2"] if change == "views" else []
    kept, anew = (command(*words, *more, f"output={name}.csv", *at) for name, at in NAMES.items())
    assert (anew.code, kept.code) == (0, 0), kept.err
    assert Path("kept.csv").read_bytes() == Path("anew.csv").read_bytes()
    assert ("(no such file or directory)" in kept.out + kept.err) == (change == "a file is gone")


NAMES = {"kept": [], "anew": ["cache_dir=elsewhere"]}
