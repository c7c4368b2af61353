"""Pictures as bad cameras and networks leave them: corruptions of five severities.

"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (Hendrycks 2019, arXiv 1903.12261),
whose constants for ImageNet these are; lengths there are for 224 pixels and shrink with the picture here.
Legend: pixels uint8 [H, W, 3].
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
SEVERITIES = (1, 2, 3, 4, 5)
_SIDE = 224


def gaussian_noise(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """As of a sensor in the dark."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return _clipped(pixels / 255 + rng.normal(scale=scale, size=pixels.shape))


def shot_noise(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Few photons, each of which counts."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return _clipped(rng.poisson(pixels / 255 * photons) / photons)


def blur(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Out of focus, by a Gaussian."""
    radius = (1, 2, 3, 4, 6)[severity - 1] * min(pixels.shape[:2]) / _SIDE
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def brightness(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Too long in the light."""
    return _clipped(pixels / 255 + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1])


def contrast(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Behind glass or in haze."""
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    values = pixels / 255
    mean = values.mean((0, 1), keepdims=True)
    return _clipped((values - mean) * share + mean)


def pixelate(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Made small and blown up again."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    image = Image.fromarray(pixels)
    small = image.resize([max(1, round(share * side)) for side in image.size], Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST))


def jpeg(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """Compressed to little."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    return np.asarray(Image.open(file).convert("RGB"))


CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "blur": blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg": jpeg,
}


def _clipped(values: NDArray[np.float64]) -> Pixels:
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
