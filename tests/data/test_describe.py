"""`dataset.json`: which images a run saw, so that a change is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import load
from transfer_cli.cache.entries import Cache
from transfer_cli.data.describe import changed_since, describe
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import StoreOptions, open_store
from transfer_cli.files import write_json
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_set_of_the_users_own_is_known_by_its_images(
    tmp_path: Path, preprocessing: Preprocessing, in_memory: bool
) -> None:
    for label in ("a", "b"):
        for number in range(8):
            file = tmp_path / "photos" / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 20, 3), number, np.uint8)).save(file)

    def found() -> dict[str, object]:
        images = load("folder", str(tmp_path / "photos"))
        if in_memory:
            object.__setattr__(images, "files", False)
            object.__setattr__(images, "encoded", None)
        everything = np.arange(len(images.labels))
        requests = [PixelRequest(formats.evaluation(preprocessing), everything)]
        options, cache = StoreOptions("auto", "error"), Cache(tmp_path / "cache", 10**9)
        return describe(open_store(images, requests, options, cache, Reporter(quiet=True)))

    write_json(tmp_path / "dataset.json", found())
    assert changed_since(tmp_path, found()) == []
    Image.fromarray(np.full((20, 20, 3), 99, np.uint8)).save(tmp_path / "photos" / "a" / "0.png")
    assert len(changed_since(tmp_path, found())) == 1


def test_published_sets_need_no_fingerprint(preprocessing: Preprocessing, tmp_path: Path) -> None:
    images = load("digits", None)
    requests = [PixelRequest(formats.evaluation(preprocessing), images.splits["val"])]
    options, cache = StoreOptions("auto", "error"), Cache(tmp_path / "cache", 10**9)
    assert describe(open_store(images, requests, options, cache, Reporter(quiet=True)))["fingerprints"] is None
