"""Every odd image is shown as a viewer would show it, or refused by name; the user's files stay as they were."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from tests.data import corpus_trees
from tests.data.cases import Case, Refused, Shows
from tests.data.corpus import IMAGES
from tests.data.corpus_layouts import TREES
from tests.data.corpus_trees import Tree
from tests.data.loading import load
from tests.data.pictures import PICTURE
from transfer_cli.cache.entries import Cache
from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources.folder import scan
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import StoreOptions, open_store
from transfer_cli.errors import UserError
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter


def near_corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """Colours an eighth of the way in from each corner."""
    height, width = pixels.shape[:2]
    x, y = width // 8, height // 8
    return [tuple(pixels[row, column].tolist()) for row in (y, height - 1 - y) for column in (x, width - 1 - x)]


def test_there_are_enough() -> None:
    assert len(IMAGES) >= 100


@pytest.mark.parametrize("case", IMAGES.values(), ids=IMAGES.keys())
def test_image(tmp_path: Path, case: Case) -> None:
    file = tmp_path / case.name
    content = case.content()
    file.write_bytes(content)
    if isinstance(case.expected, Refused):
        with pytest.raises(DecodeError) as caught:
            open_image(file)
        assert case.expected.words in str(caught.value)
        assert str(caught.value).startswith(str(file))
    else:
        image = open_image(file)
        assert (image.mode, image.size) == ("RGB", case.expected.size)
        assert_shown(np.array(image), case.expected)
        assert np.array_equal(np.array(open_image(content)), np.array(image))
    assert file.read_bytes() == content


def assert_shown(pixels: np.ndarray, expected: Shows) -> None:
    if expected.corners is not None:
        for found, wanted in zip(near_corners(pixels), expected.corners, strict=True):
            assert np.abs(np.subtract(found, wanted)).max() <= expected.tolerance, (near_corners(pixels), wanted)


def state(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that can be seen of a tree, links and special files included."""
    seen: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = Path(path).read_bytes() if stat.S_ISREG(status.st_mode) else b""
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
            seen[path] = (status.st_mode, status.st_size, status.st_mtime_ns, hashlib.sha256(content).digest(), target)
    return seen


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_tree(tmp_path: Path, tree: Tree) -> None:
    root = tmp_path / "set"
    root.mkdir()
    tree.fill(root)
    before = state(root)
    if isinstance(tree.expected, corpus_trees.Refused):
        with pytest.raises(UserError) as caught:
            load_folder(root)
        assert tree.expected.words in str(caught.value)
    else:
        images = load_folder(root)
        counts = np.bincount(images.labels, minlength=len(images.classes))
        assert dict(zip(images.classes, counts.tolist(), strict=True)) == tree.expected.counts
        assert set(scan(root, labelled=True).splits) == set(tree.expected.splits)
        said = "\n".join(images.notes)
        assert all(words in said for words in tree.expected.notes), said
        assert bool(said) == bool(tree.expected.notes), said
        for index in range(len(images.ids))[:20]:
            assert images.read(index).size == PICTURE.size
    assert state(root) == before


def load_folder(root: Path) -> ImageSet:
    return load("folder", str(root))


@pytest.mark.parametrize("where", ["disk", "stream"])
def test_the_first_pass_finds_what_cannot_be_shown_and_skips_it_alone(
    tmp_path: Path, preprocessing: Preprocessing, where: str
) -> None:
    root, wanted = tmp_path / "set", set()
    for number, case in enumerate(IMAGES.values()):
        file = root / "ab"[number % 2] / f"{number:03d}-{case.name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(case.content())
        if isinstance(case.expected, Refused):
            wanted.add(str(file))
    before, images = state(root), load_folder(root)
    wants = [
        PixelRequest(formats.training(preprocessing, 1.5), images.splits["train"]),
        PixelRequest(formats.evaluation(preprocessing), np.union1d(images.splits["val"], images.splits["test"])),
    ]
    opened = open_store(
        images, wants, StoreOptions(where, "skip"), Cache(tmp_path / "cache", 10**12), Reporter(quiet=True)
    )
    assert {images.ids[index] for index in opened.skipped} == wanted
    assert state(root) == before
