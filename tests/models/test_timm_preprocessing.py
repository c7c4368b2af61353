"""What timm's weights say of preprocessing is done, byte for byte as timm's `create_transform`, or refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from transfer_cli.errors import UserError
from transfer_cli.models import published as module
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import published

SHAPES = [(37, 60), (61, 40), (50, 50), (1, 90)]
# Pictures of people, taller than wide.
NOT_SQUARE = 10


def picture(width: int, height: int) -> Image.Image:
    draw = np.random.default_rng(width)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8))


def theirs(config: Any) -> Any:
    from timm.data import create_transform, resolve_data_config

    return create_transform(**resolve_data_config({}, pretrained_cfg=config.to_dict()), normalize=False)


def every_config() -> dict[str, Any]:
    import timm  # noqa: F401 - fills the table
    from timm.models._registry import _model_pretrained_cfgs

    return dict(_model_pretrained_cfgs)


def test_every_tag_of_timm_is_shown_its_images_as_timm_does() -> None:
    """By what its configuration says, of which there are some hundred kinds; mean and deviation for each."""
    kinds: dict[tuple[Any, ...], tuple[Preprocessing, Any]] = {}
    refused = []
    for name, config in every_config().items():
        try:
            ours = module._preprocessing_of(name, config)
        except UserError as error:
            refused.append(str(error))
            continue
        assert (ours.mean, ours.std) == (tuple(config.mean), tuple(config.std)), name
        kind = (ours.crop_pixels, ours.resize_pixels, ours.interpolation, ours.fit)
        kinds.setdefault((*kind, ours.mean if ours.fit == "pad" else None), (ours, config))
    assert len(refused) == NOT_SQUARE
    assert all("not square" in message for message in refused)
    assert {ours.fit for ours, _ in kinds.values()} == {"crop", "squash", "pad"}
    assert any(ours.resize_pixels < ours.crop_pixels for ours, _ in kinds.values())
    for number, (ours, config) in enumerate(kinds.values()):
        image, transform = picture(*SHAPES[number % 3]), theirs(config)
        assert torch.equal(ours.apply(image), transform(image)), (ours, image.size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("share", [0.8, 0.875, 1.0, 1.15])
def test_every_way_of_cropping_at_every_shape(shape: tuple[int, int], mode: str, share: float) -> None:
    config = every_config()["test_vit.r160_in1k"]
    config = replace(config, input_size=(3, 65, 65), crop_mode=mode, crop_pct=share)
    image = picture(*shape)
    assert torch.equal(module._preprocessing_of("test_vit", config).apply(image), theirs(config)(image))


def test_another_size_and_a_round_trip_keep_the_share_and_the_fit() -> None:
    ours = Preprocessing(448, 389, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")
    assert ours.at(224).resize_pixels == round(224 * 389 / 448)
    assert Preprocessing.from_dict(ours.to_dict()) == ours
    assert ours.fitted("squash") == ours


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_mode": "random"}, "crop mode random"),
        ({"interpolation": "random"}, "interpolation random"),
        ({"input_size": (3, 64, 32)}, "pictures of 64 x 32 pixels"),
        ({"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.5,)}, "1 channels"),
    ],
)
def test_what_is_not_done_is_refused(change: dict[str, Any], message: str) -> None:
    plain = {"input_size": (3, 64, 64), "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 0.9}
    config = SimpleNamespace(**{**plain, "interpolation": "bicubic", "crop_mode": "center", **change})
    with pytest.raises(UserError, match=f"model.name=mine: its weights want {message}"):
        module._preprocessing_of("mine", config)


def test_the_weights_of_a_model_that_squashes_squash() -> None:
    assert published("dm_nfnet_f0", "timm", None).preprocessing.fit == "squash"
