"""image_size=auto and image_fit=auto: by the pictures' own size."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended, experiment
from transfer_cli.data.sources import load as sources
from transfer_cli.errors import UserError
from transfer_cli.models import weights
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import WeightsSource
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices.image_size import with_size
from transfer_cli.runs.pretrained import Pretrained

OWN = Preprocessing(224, 256, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def chosen(folder: Path, width: int, height: int, *words: str) -> tuple[object, object, Preprocessing]:
    """Size, fit and preprocessing for a folder of pictures of this size."""
    for label in "ab":
        (folder / label).mkdir(exist_ok=True)
        for number in range(8):
            Image.new("RGB", (width, height)).save(folder / label / f"{number}.png")
    e = experiment("dataset=folder", f"dataset.path={folder}", *words)
    images = sources.load(e.dataset, 0)
    size = OWN if e.image_size == "auto" else OWN.at(e.image_size)
    pretrained = Pretrained(e.model, WeightsSource("file", "weights", OWN), size)
    e, pretrained = with_size(e, pretrained, images, Reporter(quiet=True))
    return e.image_size, e.image_fit, pretrained.preprocessing


@pytest.mark.parametrize(
    ("shape", "words", "expected"),
    [
        ((500, 375), [], (224, "crop", 256)),
        ((168, 168), [], (224, "crop", 256)),
        ((28, 28), [], (96, "squash", 96)),
        ((8, 8), [], (64, "squash", 64)),
        ((100, 100), [], (224, "squash", 224)),
        ((32, 64), [], (96, "pad", 96)),
        ((28, 28), ["image_size=64"], (64, "squash", 64)),
        ((28, 28), ["image_fit=crop"], (96, "crop", 110)),
        ((500, 375), ["image_fit=pad"], (224, "pad", 224)),
        ((28, 28), ["model=vit_b_16"], (224, "squash", 224)),
        ((500, 375), ["crop_fraction=1"], (224, "crop", 224)),
        ((500, 375), ["image_fit=pad", "crop_fraction=0.9"], (224, "pad", 248)),
        ((28, 28), ["crop_fraction=0.8"], (96, "squash", 120)),
    ],
)
def test_size_and_fit(tmp_path: Path, shape: tuple[int, int], words: list[str], expected: tuple[int, str, int]) -> None:
    size, fit, preprocessing = chosen(tmp_path, *shape, *words)
    assert (size, fit, preprocessing.resize_pixels) == expected
    assert (preprocessing.crop_pixels, preprocessing.fit) == (size, fit)


def test_what_is_shown_of_a_picture() -> None:
    """A wide picture, white with a dark left edge: cropped it loses the edge, squashed and padded it keeps it."""
    pixels = np.full((40, 120, 3), 255, np.uint8)
    pixels[:, :12] = 0
    image = Image.fromarray(pixels)
    small = OWN.at(40)
    cropped, squashed, padded = (small.fitted(fit).pixels(image) for fit in ("crop", "squash", "pad"))
    assert cropped.shape == squashed.shape == padded.shape == (40, 40, 3)
    assert cropped.min() == 255
    assert squashed[:, 0].max() == 0
    assert padded[20, 0].max() < 30
    assert (padded[0] == 128).all()


def test_a_fit_is_saved_and_read_back() -> None:
    padded = OWN.fitted("pad")
    assert Preprocessing.from_dict(padded.to_dict()) == padded
    before = {key: value for key, value in OWN.to_dict().items() if key != "fit"}
    assert Preprocessing.from_dict(before) == OWN
    with pytest.raises(ValueError, match="fit"):
        Preprocessing.from_dict({**OWN.to_dict(), "fit": "stretch"})
    assert replace(OWN, fit="squash") != OWN


def test_weights_that_were_trained_on_squashed_pictures_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run chooses by itself, and its resolved settings choose the same."""
    monkeypatch.setitem(globals(), "OWN", replace(OWN, resize_pixels=236, fit="squash"))
    for words in ([], ["image_fit=squash"]):
        size, fit, preprocessing = chosen(tmp_path, 500, 375, *words)
        assert (size, fit, preprocessing) == (224, "squash", OWN)
    assert chosen(tmp_path, 500, 375, "image_fit=crop")[2].fit == "crop"


@pytest.mark.parametrize("share", ["0", "3", "half"])
def test_a_share_that_is_none(share: str) -> None:
    with pytest.raises(UserError, match=f"crop_fraction={share}"):
        experiment(f"crop_fraction={share}")


def test_a_share_shows_that_much_of_an_image(command: Callable[..., Ended]) -> None:
    """In the model that is saved, which predict and evaluate use."""
    ended = command(*TINY, "image_fit=crop", "crop_fraction=0.8", "trainer.epochs=1", "name=share")
    assert ended.code == 0, ended.err
    about = json.loads(Path("outputs/runs/share/model.json").read_text())["preprocessing"]
    assert (about["crop_pixels"], about["resize_pixels"], about["fit"]) == (32, 40, "crop")


@pytest.mark.parametrize("name", ["crossvit_tiny_240", "visformer_tiny", "mvitv2_tiny"])
def test_a_network_made_for_one_size_gets_it(tmp_path: Path, name: str) -> None:
    """Small pictures are enlarged to it: smaller ones it does not take."""
    e = experiment("dataset=fake", f"model.name={name}", "model.source=timm", "model.weights=none")
    source = weights.resolve(name, "timm", "none")
    images = sources.load(e.dataset, 0)
    found, _ = with_size(e, Pretrained(e.model, source, source.preprocessing), images, Reporter(quiet=True))
    assert found.image_size == source.preprocessing.crop_pixels
