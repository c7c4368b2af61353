"""RandAugment and TrivialAugment: operations drawn at random from one list.

"RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (Cubuk 2020, arXiv 1909.13719),
"TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation" (Mueller 2021, arXiv 2103.10158).

Operations and ranges are torchvision's (those of the papers' code), on Pillow images. Two deviations: geometric
operations interpolate bilinearly, and show grey beyond the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from transfer_cli.config.schema import Augment
from transfer_cli.data.views.geometry import FILL, Pixels
from transfer_cli.data.views.random_numbers import uniforms

BINS = 31
"""Magnitudes are 0 to 30."""

Operation = Callable[[Image.Image, float], Image.Image]


def _affine(image: Image.Image, *data: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=FILL)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, _: image,
    "shear_x": lambda image, slope: _affine(image, 1, slope, 0, 0, 1, 0),
    "shear_y": lambda image, slope: _affine(image, 1, 0, 0, slope, 1, 0),
    "translate_x": lambda image, pixels: _affine(image, 1, 0, -int(pixels), 0, 1, 0),
    "translate_y": lambda image, pixels: _affine(image, 1, 0, 0, 0, 1, -int(pixels)),
    "rotate": lambda image, degrees: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=FILL),
    "brightness": lambda image, change: ImageEnhance.Brightness(image).enhance(1 + change),
    "saturation": lambda image, change: ImageEnhance.Color(image).enhance(1 + change),
    "contrast": lambda image, change: ImageEnhance.Contrast(image).enhance(1 + change),
    "sharpness": lambda image, change: ImageEnhance.Sharpness(image).enhance(1 + change),
    "posterize": lambda image, lost_bits: ImageOps.posterize(image, 8 - round(lost_bits)),
    "solarize": lambda image, depth: ImageOps.solarize(image, 255 - depth),  # type: ignore[arg-type]
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
}
"""Each takes an RGB image and a magnitude in its own unit: slope, pixels, degrees, change of a factor, bits, levels."""

UNSIGNED = {"identity", "posterize", "solarize", "autocontrast", "equalize"}
"""The others go to either side."""

_WITHOUT = {"identity": 0.0, "autocontrast": 0.0, "equalize": 0.0}
_FACTORS = ("brightness", "saturation", "contrast", "sharpness")


def randaugment_range(size: int) -> dict[str, float]:
    """What magnitude 30 means to each operation on views of `size` pixels."""
    shift = 150 / 331 * size
    geometry = {"shear_x": 0.3, "shear_y": 0.3, "translate_x": shift, "translate_y": shift, "rotate": 30.0}
    return {**_WITHOUT, **geometry, **dict.fromkeys(_FACTORS, 0.9), "posterize": 4.0, "solarize": 255.0}


def trivialaugment_range(size: int) -> dict[str, float]:
    """The same for TrivialAugment's wide space, whose translation does not grow with `size`."""
    geometry = {"shear_x": 0.99, "shear_y": 0.99, "translate_x": 32.0, "translate_y": 32.0, "rotate": 135.0}
    return {**_WITHOUT, **geometry, **dict.fromkeys(_FACTORS, 0.99), "posterize": 6.0, "solarize": 255.0}


@dataclass(frozen=True)
class Chosen:
    """What N samples go through: K operations each, one after the other."""

    operations: NDArray[np.int64]
    """Positions in OPERATIONS, [N, K]."""
    magnitudes: NDArray[np.float64]
    """In the operation's own unit, signed, [N, K]."""


def choose(params: Augment, seed: int, view: int, indices: NDArray[np.int64], size: int) -> Chosen | None:
    """The operations of each sample in this view; None where the recipe has no policy."""
    if params.randaugment is None and not params.trivialaugment:
        return None
    count = params.randaugment[0] if params.randaugment else 1
    draws = uniforms(seed, view, indices, 3 * count, "policy").reshape(len(indices), count, 3)
    operations = (draws[..., 0] * len(OPERATIONS)).astype(np.int64)
    if params.randaugment:
        bins, tops = np.full(operations.shape, params.randaugment[1]), randaugment_range(size)
    else:
        bins, tops = (draws[..., 1] * BINS).astype(np.int64), trivialaugment_range(size)
    top = np.array([tops[name] for name in OPERATIONS])[operations]
    signed = np.array([name not in UNSIGNED for name in OPERATIONS])[operations]
    sign = np.where(signed & (draws[..., 2] < 0.5), -1.0, 1.0)
    return Chosen(operations, sign * top * bins / (BINS - 1))


def apply(pixels: Pixels, chosen: Chosen, row: int) -> Pixels:
    """`pixels` [S, S, 3] after the operations of sample `row`."""
    image = Image.fromarray(pixels)
    for operation, magnitude in zip(chosen.operations[row], chosen.magnitudes[row], strict=True):
        image = _TABLE[operation](image, float(magnitude))
    return np.asarray(image)


_TABLE = list(OPERATIONS.values())
