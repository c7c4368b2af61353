from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.loading import load
from transfer_cli.config.schema import Augment
from transfer_cli.data.batches import Batch, OrderedBatches, Samples, TrainBatches
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.host import HostStore
from transfer_cli.data.store.live import MemoryPixels, StreamPixels
from transfer_cli.data.store.protocol import ViewRecipe
from transfer_cli.models.preprocessing import Preprocessing

STANDARD = Augment("standard", None, (0.35, 1.0), (0.75, 4 / 3), 0.5, 0.2, 0.2, 0.2)
NONE = Augment("none", None, None, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def photos(tmp_path: Path, make_images: Callable[..., list[Path]]) -> ImageSet:
    for name in ("a", "b"):
        make_images(tmp_path / name, 20, size=(40, 30))
    return load("folder", str(tmp_path))


def samples(images: ImageSet, preprocessing: Preprocessing, augment: Augment = STANDARD) -> Samples:
    everything = np.arange(len(images.ids))
    made = [formats.evaluation(preprocessing), formats.training(preprocessing, 1.5)]
    if images.files:
        pixels: Any = StreamPixels(images, {form.name: form for form in made}, np.empty((0, 32), np.uint8))
    else:
        pixels = MemoryPixels(images, [PixelRequest(form, everything) for form in made])
    return Samples(images, HostStore(pixels), preprocessing, augment, seed=3)


def train(
    images: ImageSet, preprocessing: Any, batch_size: int = 5, augment: Augment = STANDARD, **changes: Any
) -> TrainBatches:
    values = {"batch_size": batch_size, "workers": 0}
    return TrainBatches(samples(images, preprocessing, augment), **(values | changes))


def ordered(images: ImageSet, split: str, preprocessing: Any, batch_size: int, workers: int) -> OrderedBatches:
    shown = samples(images, preprocessing)
    return OrderedBatches(shown, images.splits[split], batch_size=batch_size, workers=workers)


def assert_equal(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.indices, other.indices)
        for ours, theirs in ((one.colour, other.colour), (one.weights, other.weights)):
            assert (ours is None) == (theirs is None)
            assert ours is None or theirs is None or torch.equal(ours, theirs)


def test_an_epoch_shows_each_training_image_once(photos: ImageSet, preprocessing: Any) -> None:
    batches = list(train(photos, preprocessing).epoch(0))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 4]
    indices = torch.cat([batch.indices for batch in batches]).numpy()
    assert np.array_equal(np.sort(indices), photos.splits["train"])
    assert np.array_equal(torch.cat([batch.labels for batch in batches]).numpy(), photos.labels[indices])
    assert batches[0].inputs.shape == (5, 3, 16, 16)
    assert batches[0].inputs.dtype == torch.uint8
    assert batches[0].inputs.is_contiguous(memory_format=torch.channels_last)
    assert batches[0].colour is not None and batches[0].colour.shape == (5, 3, 4)


@pytest.mark.parametrize("workers", [1, 3])
def test_bytes_are_the_same_for_any_number_of_workers(photos: ImageSet, preprocessing: Any, workers: int) -> None:
    alone, helped = train(photos, preprocessing), train(photos, preprocessing, workers=workers)
    assert_equal(list(alone.epoch(2)), list(helped.epoch(2)))
    parts = [ordered(photos, "val", preprocessing, 3, count) for count in (0, workers)]
    assert_equal(list(parts[0]), list(parts[1]))


def test_start_step_skips_without_decoding(photos: ImageSet, preprocessing: Any) -> None:
    decoded: list[int] = []

    def read(index: int) -> Any:
        decoded.append(index)
        return photos.read(index)

    batches = train(replace(photos, read=read), preprocessing)
    whole = list(batches.epoch(1))
    decoded.clear()
    assert_equal(list(batches.epoch(1, start_step=3)), whole[3:])
    assert len(decoded) == 9


def test_epochs_differ_and_views_repeat(photos: ImageSet, preprocessing: Any) -> None:
    def by_sample(batches: TrainBatches, epoch: int) -> dict[int, bytes]:
        shown = [pair for batch in batches.epoch(epoch) for pair in zip(batch.indices, batch.inputs, strict=True)]
        return {int(index): image.numpy().tobytes() for index, image in shown}

    fresh = train(photos, preprocessing)
    assert by_sample(fresh, 0) != by_sample(fresh, 2)
    repeating = train(photos, preprocessing, augment=replace(STANDARD, views=2))
    assert by_sample(repeating, 0) == by_sample(repeating, 2) != by_sample(repeating, 1)
    orders = [torch.cat([batch.indices for batch in repeating.epoch(epoch)]).tolist() for epoch in (0, 2)]
    assert orders[0] != orders[1]


def test_a_balanced_epoch_shows_each_class_equally_often(photos: ImageSet, preprocessing: Any) -> None:
    few = np.concatenate([photos.splits["train"][:3], photos.splits["train"][12:]])  # 3 of a, 12 of b
    skewed = replace(photos, splits={**photos.splits, "train": few})
    for epoch in range(2):
        batches = list(train(skewed, preprocessing, sampler="balanced").epoch(epoch))
        labels = torch.cat([batch.labels for batch in batches])
        assert sorted(torch.bincount(labels).tolist()) == [7, 8]
        indices = torch.cat([batch.indices for batch in batches]).numpy()
        assert np.array_equal(labels.numpy(), photos.labels[indices])
        assert set(indices) <= set(few)


def test_weights_travel_with_their_samples(photos: ImageSet, preprocessing: Any) -> None:
    weighted = replace(photos, weights=np.arange(len(photos.ids), dtype=np.float32))
    for batch in train(weighted, preprocessing).epoch(1):
        assert batch.weights is not None and torch.equal(batch.weights, batch.indices.float())
    assert all(batch.weights is None for batch in train(photos, preprocessing).epoch(1))


def test_without_augmentation_training_sees_the_pixels_of_evaluation(photos: ImageSet, preprocessing: Any) -> None:
    shown = next(iter(train(photos, preprocessing, augment=NONE).epoch(0)))
    for index, image in zip(shown.indices, shown.inputs, strict=True):
        assert torch.equal(image, preprocessing.apply(photos.read(int(index))))


@pytest.mark.parametrize(("batch_size", "steps"), [(23, 1), (24, 1), (8, 3), (7, 4), (1, 24), (30, 1)])
def test_a_last_batch_of_one_is_dropped(photos: ImageSet, preprocessing: Any, batch_size: int, steps: int) -> None:
    batches = train(photos, preprocessing, batch_size)
    assert batches.steps_per_epoch == steps == len(list(batches.epoch(0)))


def test_a_single_image_is_not_dropped(photos: ImageSet, preprocessing: Any) -> None:
    single = replace(photos, splits={**photos.splits, "train": photos.splits["train"][:1]})
    assert [len(batch) for batch in train(single, preprocessing).epoch(0)] == [1]


@pytest.mark.parametrize(
    ("count", "size", "parts"), [(17, 16, [8, 9]), (12, 4, [4, 4, 4]), (5, 8, [5]), (9, 4, [3] * 3)]
)
def test_a_batch_splits_into_even_parts(count: int, size: int, parts: list[int]) -> None:
    numbers = torch.arange(count)
    split = Batch(numbers, numbers, numbers, weights=numbers).split(size)
    assert [len(part) for part in split] == parts
    assert torch.equal(torch.cat([part.inputs for part in split]), numbers)
    assert torch.equal(torch.cat([part.weights for part in split if part.weights is not None]), numbers)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_evaluation_counts_every_image_once_in_order(photos: ImageSet, preprocessing: Any, batch_size: int) -> None:
    batches = ordered(photos, "test", preprocessing, batch_size, 0)
    shown = list(batches)
    assert len(batches) == len(shown)
    assert torch.cat([batch.indices for batch in shown]).tolist() == photos.splits["test"].tolist()
    assert torch.equal(shown[0].inputs[0], preprocessing.apply(photos.read(int(photos.splits["test"][0]))))


def test_an_empty_split_has_no_batches(preprocessing: Any) -> None:
    images = load("digits", test_fraction=0.0)
    assert list(ordered(images, "test", preprocessing, 4, 0)) == []


def test_a_set_in_memory_is_decoded_once(preprocessing: Any) -> None:
    images, decoded = load("digits", shots=2), []

    def read(index: int) -> Any:
        decoded.append(index)
        return images.read(index)

    batches = train(replace(images, read=read), preprocessing)
    first, again = list(batches.epoch(0)), list(batches.epoch(0))
    assert len(decoded) == 20
    assert_equal(first, again)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_is_named_without_a_traceback(photos: ImageSet, preprocessing: Any, workers: int) -> None:
    bad = photos.ids[photos.splits["val"][2]]
    Path(bad).write_bytes(b"")
    with pytest.raises(DecodeError) as caught:
        list(ordered(photos, "val", preprocessing, 2, workers))
    assert str(caught.value).startswith(bad)
    assert "Traceback" not in str(caught.value)


def test_a_view_of_samples_in_order_is_what_training_saw(photos: ImageSet, preprocessing: Any) -> None:
    shown = samples(photos, preprocessing)
    seen = {
        int(index): image
        for batch in train(photos, preprocessing).epoch(4)
        for index, image in zip(batch.indices, batch.inputs, strict=True)
    }
    indices = photos.splits["train"][3:11]
    batches = OrderedBatches(shown, indices, view=4, batch_size=3, workers=2)
    assert torch.cat([batch.indices for batch in batches]).tolist() == indices.tolist()
    for batch in batches:
        for index, image in zip(batch.indices, batch.inputs, strict=True):
            assert torch.equal(image, seen[int(index)])


class GreyStore:
    """The least that a store can be."""

    where, decodes, images_decoded = "here", False, 0

    def fingerprint(self, indices: Any) -> str:
        return "grey"

    def evaluation(self, indices: Any) -> Any:
        raise AssertionError("batches are made by the store")

    sources = evaluation

    def batch(self, indices: Any) -> torch.Tensor:
        return torch.full((len(indices), 3, 16, 16), 128, dtype=torch.uint8)

    def views(self, indices: Any, recipe: ViewRecipe, view: int) -> Any:
        assert (recipe.augment, recipe.seed, recipe.crop_pixels, recipe.interpolation) == (STANDARD, 3, 16, "bilinear")
        return self.batch(indices) + view, np.ones((len(indices), 3, 4), np.float32)


def test_batches_ask_a_store_for_nothing_but_what_the_protocol_has(preprocessing: Any) -> None:
    images = load("digits", shots=2)
    shown = Samples(images, GreyStore(), preprocessing, STANDARD, seed=3)
    batch = next(iter(TrainBatches(shown, batch_size=4, workers=0).epoch(2)))
    assert (batch.inputs == 130).all()
    assert batch.colour is not None and batch.colour.shape == (4, 3, 4)
    assert (next(iter(OrderedBatches(shown, images.splits["val"], batch_size=4, workers=0))).inputs == 128).all()


def test_a_batch_may_be_changed_without_changing_the_data(preprocessing: Any) -> None:
    images = load("digits")
    batches = ordered(images, "val", preprocessing, 4, 0)
    first = next(iter(batches))
    before = first.inputs.clone()
    for tensor in (first.inputs, first.labels, first.indices):
        tensor.zero_()
    assert torch.equal(next(iter(batches)).inputs, before)
