"""The BiT-HyperRule: how to finetune, from the size of the data set and of its images alone.

"Big Transfer (BiT): General Visual Representation Learning" (Kolesnikov 2020, arXiv 1912.11370).
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL_IMAGE_PIXELS = 96 * 96


@dataclass(frozen=True)
class BitRule:
    """Train `steps` steps on random crops of `crop_pixels` from images resized to `resize_pixels`, both square."""

    resize_pixels: int
    crop_pixels: int
    steps: int
    warmup_steps: int
    mixup: float
    """Alpha of the mixing distribution; 0 is off."""


def bit_rule(train_images: int, image_pixels: int) -> BitRule:
    """The rule for a number of training images of about `image_pixels` (height times width) each.

    With it go SGD at rate 0.003 for batches of 512, momentum 0.9, no weight decay, and a tenth of the rate after 30, 60
    and 90 % of the steps. Numbers from the released rule; the paper's text has 448 and 384 for large images.
    """
    resize, crop = (160, 128) if image_pixels < SMALL_IMAGE_PIXELS else (512, 480)
    if train_images < 20_000:
        return BitRule(resize, crop, steps=500, warmup_steps=100, mixup=0.0)
    steps = 10_000 if train_images < 500_000 else 20_000
    return BitRule(resize, crop, steps, warmup_steps=500, mixup=0.1)
