"""The evaluation transform that weights expect, as numbers and the name of an interpolation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transfer_cli.models.bands import Bands, Picture
from transfer_cli.models.pixels import MAX_PIXELS, MOST_CHANNELS

Fit = Literal["crop", "pad", "squash"]
FITS: tuple[Fit, ...] = get_args(Fit)
_MOST_PIXELS = 4096
"""Of a side: the largest `image_size`."""
_SMALLEST, _LARGEST = 1e-9, 1e9
"""Of means and deviations of channels, whose brightest pixel is 1: what is beyond is no number in float32 soon."""
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
    resizes the long side and fills the rest with the mean colour. Some weights want a `resize_pixels` below the
    crop: black is around the image then.
    """

    crop_pixels: int
    resize_pixels: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit = "crop"

    @property
    def channels(self) -> int:
        """C, of an image."""
        return len(self.mean)

    def with_channels(self, channels: int) -> Preprocessing:
        """The same for other channels than RGB: one has the average of the three, more take them in turn, as the
        weights of the first convolution are summed and repeated.
        """
        if channels == self.channels:
            return self
        mean, std = (
            (sum(values) / len(values),) if channels == 1 else tuple(islice(cycle(values), channels))
            for values in (self.mean, self.std)
        )
        return replace(self, mean=mean, std=std)

    def at(self, image_size: int) -> Preprocessing:
        """The same for another size, cropping the same share."""
        resize = round(image_size * self.resize_pixels / self.crop_pixels)
        return replace(self, crop_pixels=image_size, resize_pixels=max(resize, 1))

    def fitted(self, fit: Fit) -> Preprocessing:
        """The same with another fit; what shows the whole image crops nothing, but where weights were trained so."""
        if fit == self.fit:
            return self
        return replace(self, fit=fit, resize_pixels=self.resize_pixels if fit == "crop" else self.crop_pixels)

    def showing(self, share: float) -> Preprocessing:
        """The same with another share of the resized image's side inside the square."""
        return replace(self, resize_pixels=math.floor(self.crop_pixels / share))

    def apply(self, image: Picture) -> Tensor:
        """Pixels of an image, uint8 [C, crop, crop]; byte for byte those of torchvision's and timm's transforms."""
        return torch.from_numpy(self.pixels(image)).permute(2, 0, 1).contiguous()

    def pixels(self, image: Picture) -> NDArray[np.uint8]:
        """The same as uint8 [crop, crop, C]."""
        if isinstance(image, Bands):
            planes = zip(image.planes, self.ground, strict=True)
            return np.stack([self._pixels(plane, ground) for plane, ground in planes], axis=-1)
        return self._pixels(image, self.ground)

    def _pixels(self, image: Image.Image, around: int | tuple[int, ...]) -> NDArray[np.uint8]:
        """The same of a picture of Pillow's, in its mode; `around` is the colour of what it does not fill."""
        crop, resample = self.crop_pixels, RESAMPLING[self.interpolation]
        width, height = self._resized(*image.size)
        (left, shown_width, x), (top, shown_height, y) = self._shown(width), self._shown(height)
        if width * height > MAX_PIXELS:
            # A line of pixels would grow to gigabytes: only what is shown. The eye sees no difference.
            across, down = image.width / width, image.height / height
            box = (left * across, top * down, (left + shown_width) * across, (top + shown_height) * down)
            image = image.resize((shown_width, shown_height), resample, box=box)
        else:
            if image.size != (width, height):
                image = image.resize((width, height), resample)
            image = image.crop((left, top, left + shown_width, top + shown_height))
        if image.size != (crop, crop):
            ground = Image.new(image.mode, (crop, crop), around)
            ground.paste(image, (x, y))
            image = ground
        return np.array(image)

    @property
    def ground(self) -> tuple[int, ...]:
        """The colour around what does not fill the square: the mean, or black where all was to be filled."""
        return tuple(round(255 * mean) if self.fit == "pad" else 0 for mean in self.mean)

    def _shown(self, side: int) -> tuple[int, int, int]:
        """Of a side of the resized image: where what is shown begins, its length, and where in the square it goes."""
        crop = self.crop_pixels
        if side < crop:
            return 0, side, (crop - side) // 2
        return round((side - crop) / 2.0), crop, 0

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height before what is shown is cut out."""
        wanted = self.resize_pixels
        if self.fit == "squash":
            return wanted, wanted
        short, long = min(width, height), max(width, height)
        if self.fit == "pad":
            return max(round(width / (long / wanted)), 1), max(round(height / (long / wanted)), 1)
        if short == wanted:
            return width, height
        longer = int(wanted * long / short)
        return (wanted, longer) if width <= height else (longer, wanted)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """From plain values. Raises ValueError, KeyError or TypeError for anything but what `to_dict` gives."""
        try:
            crop, resize = int(values["crop_pixels"]), int(values["resize_pixels"])
            mean, std = ([float(number) for number in values[key]] for key in ("mean", "std"))
        except OverflowError as error:  # a whole number of 400 digits, or no end of pixels
            raise ValueError("preprocessing out of range") from error
        # Half black is no picture of anything; weights go down to 87 %.
        channels = 0 < len(mean) == len(std) <= MOST_CHANNELS
        if not 0 < crop <= 2 * resize <= 4 * _MOST_PIXELS or crop > _MOST_PIXELS or not channels:
            raise ValueError("preprocessing out of range")
        # Not so of NaN, either, which would be of every image that comes out.
        if not all(abs(number) <= _LARGEST for number in mean) or not all(_SMALLEST <= one <= _LARGEST for one in std):
            raise ValueError("mean or std of preprocessing out of range")
        if values["interpolation"] not in RESAMPLING:
            raise ValueError(f"interpolation {values['interpolation']!r}")
        # Models of before there was a choice crop.
        fit = values.get("fit", "crop")
        if fit not in FITS:
            raise ValueError(f"fit {fit!r}")
        return cls(crop, resize, str(values["interpolation"]), tuple(mean), tuple(std), fit)
