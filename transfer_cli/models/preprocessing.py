"""The evaluation transform that weights expect, as numbers and the name of an interpolation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transfer_cli.models.pixels import MAX_PIXELS

Fit = Literal["crop", "pad", "squash"]
FITS: tuple[Fit, ...] = get_args(Fit)
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """Bring an image to `crop_pixels` on each side, scale by mean and std (of 0 to 1).

    `fit`: `crop` resizes the short side to `resize_pixels` and crops the centre, `squash` resizes both sides, `pad`
    resizes the long side and fills the rest with the mean colour.
    """

    crop_pixels: int
    resize_pixels: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Fit = "crop"

    def at(self, image_size: int) -> Preprocessing:
        """The same for another size, cropping the same share."""
        resize = round(image_size * self.resize_pixels / self.crop_pixels)
        return replace(self, crop_pixels=image_size, resize_pixels=max(resize, image_size))

    def fitted(self, fit: Fit) -> Preprocessing:
        """The same with another fit; what shows the whole image crops nothing."""
        return replace(self, fit=fit, resize_pixels=self.resize_pixels if fit == "crop" else self.crop_pixels)

    def apply(self, image: Image.Image) -> Tensor:
        """Pixels of an RGB image, uint8 [3, crop, crop]; cropped ones are byte for byte torchvision's own."""
        return torch.from_numpy(self.pixels(image)).permute(2, 0, 1).contiguous()

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """The same as uint8 [crop, crop, 3]."""
        crop, resample = self.crop_pixels, RESAMPLING[self.interpolation]
        if self.fit == "squash":
            return np.array(image.resize((crop, crop), resample))
        if self.fit == "pad":
            return self._padded(image)
        width, height = self._resized(*image.size)
        left, top = round((width - crop) / 2.0), round((height - crop) / 2.0)
        if width * height > MAX_PIXELS:
            # A line of pixels would grow to gigabytes: only what the crop shows. The eye sees no difference.
            across, down = image.width / width, image.height / height
            box = (left * across, top * down, (left + crop) * across, (top + crop) * down)
            return np.array(image.resize((crop, crop), resample, box=box))
        if image.size != (width, height):
            image = image.resize((width, height), resample)
        return np.array(image.crop((left, top, left + crop, top + crop)))

    def _padded(self, image: Image.Image) -> NDArray[np.uint8]:
        """The whole image in the middle of the mean colour."""
        crop = self.crop_pixels
        scale = crop / max(image.size)
        width, height = (min(max(round(side * scale), 1), crop) for side in image.size)
        ground = Image.new("RGB", (crop, crop), tuple(round(255 * mean) for mean in self.mean))
        resized = image.resize((width, height), RESAMPLING[self.interpolation])
        ground.paste(resized, ((crop - width) // 2, (crop - height) // 2))
        return np.array(ground)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height with the short side at `resize_pixels`."""
        short, long = min(width, height), max(width, height)
        if short == self.resize_pixels:
            return width, height
        longer = int(self.resize_pixels * long / short)
        return (self.resize_pixels, longer) if width <= height else (longer, self.resize_pixels)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """From plain values. Raises ValueError, KeyError or TypeError for anything but what `to_dict` gives."""
        crop, resize = int(values["crop_pixels"]), int(values["resize_pixels"])
        mean, std = ([float(number) for number in values[key]] for key in ("mean", "std"))
        if not 0 < crop <= resize <= 16384 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError("preprocessing out of range")
        if values["interpolation"] not in RESAMPLING:
            raise ValueError(f"interpolation {values['interpolation']!r}")
        # Models of before there was a choice crop.
        fit = values.get("fit", "crop")
        if fit not in FITS:
            raise ValueError(f"fit {fit!r}")
        return cls(
            crop, resize, str(values["interpolation"]), (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), fit
        )
