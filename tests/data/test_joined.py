"""Images without labels beside a labelled set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import load
from transfer_cli.data.joined import join
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.errors import UserError


def photo(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (level, 0, 0)).save(path)


@pytest.fixture
def labelled(tmp_path: Path) -> ImageSet:
    for number in range(10):
        for name in ("a", "b"):
            photo(tmp_path / "photos" / name / f"{number}.png", number)
    return load("folder", str(tmp_path / "photos"), shots=2)


def test_they_join_the_training_images_alone(labelled: ImageSet, tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / "more" / "deep" / f"{number}.png", 200 + number)
    joined = join(labelled, str(tmp_path / "more"))
    assert len(joined.ids) == len(joined.labels) == 23
    assert np.array_equal(joined.splits["train"], [*labelled.splits["train"], 20, 21, 22])
    for split in ("val", "test"):
        assert np.array_equal(joined.splits[split], labelled.splits[split])
    assert joined.labels[20:].tolist() == [-1, -1, -1]
    assert np.array_equal(joined.labels[:20], labelled.labels)
    for index in (0, 19):
        assert joined.ids[index] == labelled.ids[index]
        assert joined.read(index).tobytes() == labelled.read(index).tobytes()
    assert joined.encoded is not None
    for number in range(3):
        file = tmp_path / "more" / "deep" / f"{number}.png"
        assert joined.ids[20 + number] == str(file)
        assert joined.read(20 + number).getpixel((0, 0)) == (200 + number, 0, 0)
        assert joined.encoded.encoded(20 + number) == file.read_bytes()
        assert joined.encoded.location(20 + number)[0] == str(file)


def test_a_set_in_memory_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "more" / "0.png", 1)
    digits = load("digits", None)
    with pytest.raises(UserError, match=r"dataset\.unlabelled: dataset=digits is in memory"):
        join(digits, str(tmp_path / "more"))


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_errors_name_the_key(labelled: ImageSet, tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"dataset\.unlabelled"):
        join(labelled, str(tmp_path / what))


def test_what_is_in_a_split_already_does_not_join(labelled: ImageSet, tmp_path: Path) -> None:
    """The same folder, by another name: its training images beyond the two shots of each class, and nothing else."""
    (tmp_path / "again").symlink_to(tmp_path / "photos")
    joined = join(labelled, str(tmp_path / "again"))
    members = np.concatenate([*labelled.splits.values()])
    rest = {Path(labelled.ids[index]).resolve() for index in set(range(20)) - set(members.tolist())}
    assert len(rest) == 20 - 4 - 8
    assert {Path(joined.ids[index]).resolve() for index in joined.splits["train"][4:]} == rest
    assert joined.read(20).tobytes() == Image.open(joined.ids[20]).tobytes()


def test_of_a_folder_with_splits_the_training_images_join(labelled: ImageSet, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        photo(tmp_path / "more" / split / "0.png", 100)
    joined = join(labelled, str(tmp_path / "more"))
    assert [joined.ids[index] for index in joined.splits["train"][4:]] == [str(tmp_path / "more" / "train" / "0.png")]


def test_nothing_new_is_an_error(tmp_path: Path) -> None:
    for number in range(10):
        for name in ("a", "b"):
            photo(tmp_path / "photos" / name / f"{number}.png", number)
    images = load("folder", str(tmp_path / "photos"))
    with pytest.raises(UserError, match=r"dataset\.unlabelled=.*in the data set already"):
        join(images, str(tmp_path / "photos"))
