"""The two formats of decoded pixels: those of evaluation, and sources that training views are cut from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
import torch

from transfer_cli.data.reading import decode
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.views.augment import train_source
from transfer_cli.data.views.geometry import Pixels
from transfer_cli.models.bands import Picture
from transfer_cli.models.preprocessing import RESAMPLING, Preprocessing

EVALUATION = "evaluation"
TRAINING = "training"


@dataclass(frozen=True)
class PixelFormat:
    """What an image becomes. `spec` is all that the bytes depend on besides the image."""

    name: str
    spec: dict[str, Any]
    make: Callable[[Picture], Pixels]
    """An image to uint8 [H, W, C]."""
    pixels_of: Callable[[int, int], int]
    """From the width and height of an image, the number of pixels in this format."""


@dataclass(frozen=True)
class PixelRequest:
    """Samples whose pixels a run needs in a format."""

    format: PixelFormat
    indices: Indices
    """Ascending, each once."""


def evaluation(preprocessing: Preprocessing) -> PixelFormat:
    """Pixels exactly as the weights' own preprocessing makes them, [S, S, C]."""
    crop = preprocessing.crop_pixels
    spec: dict[str, Any] = {
        "crop": crop,
        "resize": preprocessing.resize_pixels,
        "interpolation": preprocessing.interpolation,
    }
    if preprocessing.fit != "crop":
        spec["fit"] = preprocessing.fit
    if preprocessing.fit == "pad":
        spec["ground"] = list(preprocessing.ground)
    return PixelFormat(
        EVALUATION, _described(EVALUATION, spec), preprocessing.pixels, lambda width, height: crop * crop
    )


def training(preprocessing: Preprocessing, factor: float) -> PixelFormat:
    """The whole image, its short side at `factor` times the training size, never enlarged, [h, w, C]."""
    crop, resample = preprocessing.crop_pixels, RESAMPLING[preprocessing.interpolation]

    def make(image: Picture) -> Pixels:
        return train_source(image, crop, resample, factor)

    def pixels_of(width: int, height: int) -> int:
        scale = min(1.0, factor * crop / min(width, height))
        return round(width * scale) * round(height * scale)

    spec = {"short_side": factor * crop, "interpolation": preprocessing.interpolation, "resized_by": _resizer()}
    return PixelFormat(TRAINING, _described(TRAINING, spec), make, pixels_of)


def checked(like: PixelFormat) -> PixelFormat:
    """Decodes like `like` and keeps nothing: for sets that are too large to store, but must be checked once."""
    return PixelFormat(like.name, _described("check", {}), lambda image: np.empty((0, 0, 3), np.uint8), lambda *size: 0)


def _described(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """With what decodes: another version may give other bytes."""
    return {"form": name, **spec, **decoder()}


def _resizer() -> str:
    """What training sources are resized by: other instructions may round otherwise."""
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"


def decoder() -> dict[str, Any]:
    """The versions that decoded pixels depend on."""
    return {"pillow": PIL.__version__, "decoder": decode.VERSION}
