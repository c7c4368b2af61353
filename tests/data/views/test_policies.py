import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from transfer_cli.config.schema import Augment
from transfer_cli.data.views import policies
from transfer_cli.data.views.geometry import FILL

OFF = Augment("none")
N = 10_000
LINEAR = {"interpolation": v2.InterpolationMode.BILINEAR, "fill": list(FILL)}
THEIRS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "saturation": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


def affine(**changes: Any) -> Callable[[Image.Image], Image.Image]:
    values = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **LINEAR, **changes}
    return lambda image: functional.affine(image, **values)


def degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


def reference(name: str, magnitude: float) -> Callable[[Image.Image], Image.Image]:
    """torchvision's operation for a magnitude of its own RandAugment and TrivialAugmentWide."""
    m = magnitude
    return {
        "identity": lambda image: image,
        "shear_x": affine(shear=[degrees(m), 0.0], center=[0, 0]),
        "shear_y": affine(shear=[0.0, degrees(m)], center=[0, 0]),
        "translate_x": affine(translate=[int(m), 0]),
        "translate_y": affine(translate=[0, int(m)]),
        "rotate": lambda image: functional.rotate(image, m, **LINEAR),
        "brightness": lambda image: functional.adjust_brightness(image, 1 + m),
        "saturation": lambda image: functional.adjust_saturation(image, 1 + m),
        "contrast": lambda image: functional.adjust_contrast(image, 1 + m),
        "sharpness": lambda image: functional.adjust_sharpness(image, 1 + m),
        "posterize": lambda image: functional.posterize(image, int(m)),
        "solarize": lambda image: functional.solarize(image, 255.0 * m),
        "autocontrast": functional.autocontrast,
        "equalize": functional.equalize,
    }[name]


def photo() -> np.ndarray:
    """A smooth picture that fills neither the whole range of levels nor that of any channel alike.

    Levels are even and the tested thresholds of solarize are not: no comparison hangs on rounding.
    """
    random = np.random.default_rng(3)
    image = Image.fromarray(random.integers(20, 230, (5, 6, 3), dtype=np.uint8)).resize((48, 48), Image.BICUBIC)
    return np.asarray(image) // 2 * 2 + 4


@pytest.mark.parametrize("number", [0, 7, 19, 30])
@pytest.mark.parametrize(
    ("policy", "ranges"),
    [(v2.RandAugment(), policies.randaugment_range), (v2.TrivialAugmentWide(), policies.trivialaugment_range)],
)
@pytest.mark.parametrize("name", list(policies.OPERATIONS))
def test_every_operation_is_torchvisions(name: str, policy: Any, ranges: Any, number: int) -> None:
    magnitudes, signed = policy._AUGMENTATION_SPACE[THEIRS[name]]
    values = magnitudes(31, 48, 48)
    assert signed == (name not in policies.UNSIGNED)
    for sign in (1, -1) if signed else (1,):
        ours = policies.OPERATIONS[name](Image.fromarray(photo()), sign * ranges(48)[name] * number / 30)
        theirs = reference(name, sign * float(values[number]) if values is not None else 0.0)(Image.fromarray(photo()))
        assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 1


def test_the_list_is_torchvisions() -> None:
    for policy in (v2.RandAugment, v2.TrivialAugmentWide):
        assert sorted(policy._AUGMENTATION_SPACE) == sorted(THEIRS[name] for name in policies.OPERATIONS)


def test_operations_are_uniform_signs_even_and_samples_independent() -> None:
    chosen = policies.choose(replace(OFF, randaugment=(2, 30)), 0, 0, np.arange(N), 224)
    assert chosen is not None
    assert chosen.operations.shape == (N, 2)
    for column in chosen.operations.T:
        counts = np.bincount(column, minlength=14)
        assert ((counts - N / 14) ** 2 / (N / 14)).sum() < 42  # chi-square, 13 degrees of freedom: p about 1e-4
    first, second = chosen.operations.T
    for other in (second, np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(N)
    rotations = chosen.magnitudes[chosen.operations == list(policies.OPERATIONS).index("rotate")]
    assert set(np.abs(rotations)) == {30.0}
    assert (rotations > 0).mean() == pytest.approx(0.5, abs=0.07)


def test_trivialaugment_takes_one_operation_of_any_magnitude() -> None:
    chosen = policies.choose(replace(OFF, trivialaugment=True), 0, 0, np.arange(N), 224)
    assert chosen is not None
    assert chosen.operations.shape == (N, 1)
    solarized = chosen.magnitudes[chosen.operations == list(policies.OPERATIONS).index("solarize")]
    counts = np.bincount(np.rint(solarized / 255 * 30).astype(int), minlength=31)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 67  # 30 degrees of freedom


def test_operations_act_one_after_the_other() -> None:
    names = list(policies.OPERATIONS)
    pair = np.array([[names.index("solarize"), names.index("brightness")]])
    chosen = policies.Chosen(pair, np.array([[100.0, -0.5]]))
    image = photo()
    solarized = np.where(image < 155, image, 255 - image)
    assert np.abs(policies.apply(image, chosen, 0).astype(int) - solarized * 0.5).max() <= 1


def test_without_a_policy_nothing_is_chosen() -> None:
    assert policies.choose(OFF, 0, 0, np.arange(3), 224) is None
