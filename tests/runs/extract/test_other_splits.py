"""The network runs once on an image, whichever split it is in: other seeds, folds and shots, and added images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import TINY, Ended, summary
from transfer_cli.cache import activations
from transfer_cli.models import backbones

Command = Callable[..., Ended]
WORDS = [w for w in TINY if not w.startswith(("dataset", "model.weights", "augment"))]
WORDS += ["strategy=extract", "image_size=64", "quiet=true", "model.weights=own.safetensors"]
WORDS += ["dataset=folder", "dataset.path=photos"]
FILES = ("model.safetensors", "metrics.jsonl", "predictions.csv")


def photo(number: int) -> None:
    path = Path("photos") / ("dark" if number % 2 else "light") / f"{number:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (70, 64), (number, 255 - number, (number * 7) % 255)).save(path)


@pytest.fixture(autouse=True)
def photos() -> None:
    """120 images of two classes that all differ, and weights that no seed changes."""
    for number in range(120):
        photo(number)
    network = backbones.build("test_resnet", "timm", 2, 64)
    save_file({name: tensor.contiguous() for name, tensor in network.module.state_dict().items()}, "own.safetensors")


def trained(command: Command, name: str, *words: str) -> Path:
    ended = command(*WORDS, f"name={name}", *words)
    assert ended.code == 0, ended.err
    return Path("outputs/runs") / name


def images_run(run: Path) -> int:
    return int(summary(run)["backbone_images"])


def same(one: Path, other: Path) -> bool:
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in FILES)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([], ["dataset.shots=5", "seed=2"]),
        (["dataset.folds=3", "dataset.fold=0"], ["dataset.folds=3", "dataset.fold=2"]),
    ],
    ids=lambda words: " ".join(words) or "-",
)
def test_the_same_images_in_other_splits(
    command: Command, monkeypatch: pytest.MonkeyPatch, first: Sequence[str], then: Sequence[str]
) -> None:
    alone = trained(command, "alone", *then, "cache_dir=own")
    assert images_run(alone) > 0
    assert images_run(trained(command, "first", *first)) == 120
    monkeypatch.setattr(backbones, "build", lambda *args, **kwargs: pytest.fail("the backbone was built"))
    shared = trained(command, "shared", *then)
    assert images_run(shared) == 0
    assert same(alone, shared)
    assert summary(shared)["cache"]["misses"] > 0
    again = trained(command, "again", *then)
    assert summary(again)["cache"]["misses"] == 0, "its rows are an entry of their own by now"


def test_of_images_that_were_added_or_repainted_those_alone_run(command: Command) -> None:
    trained(command, "first")
    for number in range(120, 127):
        photo(number)
    Image.new("RGB", (70, 64), (1, 2, 3)).save("photos/dark/001.png")
    more = trained(command, "more")
    assert images_run(more) == 8
    assert same(more, trained(command, "alone", "cache_dir=own"))


def test_a_view_is_of_one_seed_and_shared_among_its_folds(command: Command) -> None:
    views = ["augment=light", "augment.views=2", "dataset.folds=4"]
    first = trained(command, "first", *views, "dataset.fold=0")
    assert images_run(first) > 120
    other = trained(command, "other", *views, "dataset.fold=1")
    assert 0 < images_run(other) < 120
    assert images_run(trained(command, "seed", *views, "dataset.fold=0", "seed=1")) > 120


def test_images_that_look_alike_under_other_numbers_have_views_of_their_own(command: Command) -> None:
    views = ["augment=light", "augment.views=1", "dataset.folds=4", "dataset.fold=0"]
    trained(command, "first", *views)
    # The first by name: all others move by one, and views go by number.
    Image.new("RGB", (70, 64), (9, 9, 9)).save("photos/dark/000.png")
    assert same(trained(command, "more", *views), trained(command, "alone", *views, "cache_dir=own"))


def test_a_frozen_prefix_is_shared_too(command: Command) -> None:
    tuned = [w for w in WORDS if not w.startswith("strategy=")]

    def finetuned(name: str, *more: str) -> Path:
        ended = command(*tuned, "augment=none", "tune=off", f"name={name}", "strategy.unfreeze=1", *more)
        assert ended.code == 0, ended.err
        return Path("outputs/runs") / name

    finetuned("first")
    assert same(finetuned("shared", "seed=1"), finetuned("alone", "seed=1", "cache_dir=own"))


def test_an_entry_that_is_damaged_or_says_nothing_of_its_rows_is_no_source(command: Command) -> None:
    trained(command, "first", "cache_dir=cache")
    train, *others = sorted(Path("cache/activations").iterdir(), key=lambda path: -(path / "rows.bin").stat().st_size)
    bytes_ = bytearray((train / "rows.bin").read_bytes())
    bytes_[100] ^= 1
    (train / "rows.bin").write_bytes(bytes_)
    for entry in others:
        (entry / activations.SAMPLES).unlink()
    shared = trained(command, "shared", "seed=1", "cache_dir=cache")
    assert images_run(shared) == 120
    assert same(shared, trained(command, "alone", "seed=1", "cache_dir=own"))
