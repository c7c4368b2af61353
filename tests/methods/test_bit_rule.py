"""The BiT rule is a table."""

from __future__ import annotations

import pytest

from transfer_cli.methods.bit_rule import BitRule, bit_rule


@pytest.mark.parametrize(
    ("train_images", "image_pixels", "rule"),
    [
        # resize, crop, steps, warm-up, mixup
        (1_000, 224 * 224, BitRule(512, 480, 500, 100, 0.0)),
        (19_999, 96 * 96, BitRule(512, 480, 500, 100, 0.0)),
        (19_999, 96 * 96 - 1, BitRule(160, 128, 500, 100, 0.0)),
        (20_000, 32 * 32, BitRule(160, 128, 10_000, 500, 0.1)),
        (50_000, 32 * 32, BitRule(160, 128, 10_000, 500, 0.1)),
        (499_999, 224 * 224, BitRule(512, 480, 10_000, 500, 0.1)),
        (500_000, 224 * 224, BitRule(512, 480, 20_000, 500, 0.1)),
        (1_281_167, 224 * 224, BitRule(512, 480, 20_000, 500, 0.1)),
    ],
)
def test_table(train_images: int, image_pixels: int, rule: BitRule) -> None:
    assert bit_rule(train_images, image_pixels) == rule
