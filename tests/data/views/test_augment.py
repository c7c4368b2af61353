from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.config.parse import parse
from transfer_cli.config.schema import Augment
from transfer_cli.data.views import augment
from transfer_cli.errors import UserError

OFF = Augment("none")
CROP = replace(OFF, crop_scale=(0.35, 1.0), crop_ratio=(3 / 4, 4 / 3))
JITTER = replace(CROP, flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, grayscale=0.2)
BILINEAR = Image.Resampling.BILINEAR
RECIPES = {
    "jitter": JITTER,
    "everything": replace(JITTER, vertical_flip=0.5, rotate=40, shear=10, hue=0.2, randaugment=(2, 12), erase=0.7),
    "trivial": replace(CROP, trivialaugment=True),
    "turned": replace(OFF, rotate=20),
}


def random_sources(count: int, *, square: bool = False) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = [(16, 16, 3) if square else (20 + k, 50 - k, 3) for k in range(count)]
    return [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def views(recipe: Augment, rows: Any, *, seed: int = 1, view: int = 2) -> augment.Views:
    sources, indices = random_sources(21, square=recipe.crop_scale is None), np.arange(100, 121)
    chosen = [sources[row] for row in rows]
    return augment.make_views(chosen, recipe, seed, view, indices[rows], 16, BILINEAR)


def assert_equal(some: augment.Views, others: augment.Views) -> None:
    assert some.pixels.tobytes() == others.pixels.tobytes()
    assert (some.colour is None) == (others.colour is None)
    assert some.colour is None or others.colour is None or some.colour.tobytes() == others.colour.tobytes()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_view_depends_on_seed_view_and_sample_alone(recipe: Augment) -> None:
    together = views(recipe, range(21))
    for rows in ([4], [20, 3], list(range(20, -1, -1))):
        some = augment.Views(together.pixels[rows], None if together.colour is None else together.colour[rows])
        assert_equal(views(recipe, rows), some)
    for key in ({"seed": 2}, {"view": 3}):
        assert not np.array_equal(together.pixels, views(recipe, range(21), **key).pixels)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_threads_can_make_batches_at_the_same_time(recipe: Augment) -> None:
    with ThreadPoolExecutor(5) as pool:
        for made in pool.map(lambda _: views(recipe, range(21)), range(10)):
            assert_equal(made, views(recipe, range(21)))


def test_views_never_change_between_releases() -> None:
    """Stored views would no longer be what recomputing gives. Without resampling, whose rounding may differ by CPU."""
    recipe = replace(OFF, flip=0.5, vertical_flip=0.5, erase=0.5, brightness=0.2, contrast=0.2, saturation=0.2)
    made = augment.make_views(random_sources(6, square=True), recipe, 0, 0, np.arange(6), 16, BILINEAR)
    assert made.colour is not None
    assert made.pixels.sum(axis=(1, 2, 3), dtype=np.int64).tolist() == [95761, 95989, 98493, 98567, 98662, 97826]
    assert made.pixels[:, 0, 0, 0].tolist() == [165, 81, 224, 43, 101, 227]
    assert made.colour[:, 0, 0] == pytest.approx([1.2340167, 0.9642527, 0.8609518, 1.1486754, 0.9854761, 1.0266502])


def test_colour_comes_as_a_map_and_only_where_a_recipe_has_it() -> None:
    plain, jittered = (
        views(recipe, range(21))
        for recipe in (replace(JITTER, brightness=0, contrast=0, saturation=0, grayscale=0), JITTER)
    )
    assert plain.colour is None
    assert jittered.colour is not None and jittered.colour.shape == (21, 3, 4)
    assert np.array_equal(plain.pixels, jittered.pixels)


def test_contrast_keeps_the_mean_grey_of_the_view() -> None:
    made = views(replace(CROP, contrast=1.0, erase=1.0), range(21))
    assert made.colour is not None
    grey = np.array([0.299, 0.587, 0.114])
    values = np.einsum("bhwk,bck->bhwc", made.pixels, made.colour[..., :3]) + made.colour[:, None, None, :, 3]
    assert (values @ grey).mean(axis=(1, 2)) == pytest.approx((made.pixels @ grey).mean(axis=(1, 2)), rel=1e-4)
    assert (values @ grey).std() != pytest.approx((made.pixels @ grey).std(), rel=0.01)


def test_without_augmentation_a_view_is_its_source() -> None:
    sources = random_sources(3, square=True)
    made = augment.make_views(sources, OFF, 0, 0, np.arange(3), 16, BILINEAR)
    assert np.array_equal(made.pixels, np.stack(sources))
    assert made.pixels.flags.c_contiguous


@pytest.mark.parametrize(("size", "expected"), [((400, 300), (32, 24)), ((300, 600), (24, 48)), ((23, 99), (23, 99))])
def test_source_keeps_aspect_and_is_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    source = augment.train_source(Image.new("RGB", size), 16, BILINEAR, 1.5)
    assert source.shape == (expected[1], expected[0], 3)


def test_views_repeat_after_k_epochs() -> None:
    assert [augment.view_of(epoch, replace(OFF, views=3)) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert augment.view_of(17, OFF) == 17


def test_examples_are_the_first_epochs_with_their_colour() -> None:
    recipe = replace(JITTER, views=2, grayscale=1.0)
    shown = augment.examples(random_sources(2), recipe, 0, np.arange(2), 16, BILINEAR, 3)
    assert shown.shape == (2, 3, 16, 16, 3)
    assert np.array_equal(shown[:, 0], shown[:, 2])
    assert not np.array_equal(shown[:, 0], shown[:, 1])
    assert np.ptp(shown, axis=-1).max() <= 1


def composed(**changes: Any) -> dict[str, Any]:
    values = to_plain(compose(ConfigSource(conf_dir(), "config", None), parse_overrides([])))
    values["augment"] = {**asdict(OFF), **changes}
    return values


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("views", 0),
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.9, 0.5)),
        ("crop_scale", (0.5, 1.5)),
        ("crop_ratio", (2.0, 1.0)),
        ("flip", 1.5),
        ("vertical_flip", -0.1),
        ("rotate", 181),
        ("shear", 46),
        ("contrast", -0.1),
        ("brightness", float("nan")),
        ("hue", 0.6),
        ("grayscale", 2),
        ("randaugment", (0, 9)),
        ("randaugment", (2, 31)),
        ("randaugment", 2),
        ("trivialaugment", 1),
        ("erase", 1.1),
        ("erase_scale", (0.3, 0.1)),
        ("mixup", -1),
        ("cutmix", 9),
    ],
)
def test_impossible_values_name_their_key(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"augment\.{key}="):
        parse(composed(**{key: value}))


def test_two_policies_at_once_are_refused() -> None:
    with pytest.raises(UserError, match=r"randaugment and augment\.trivialaugment"):
        parse(composed(randaugment=(2, 9), trivialaugment=True))
