"""Sets as folders: splits that never meet, the same at every draw, and a clear word where a package is missing."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.evidence import drawings, held_back, sets
from tests.benchmarks.evidence.samples import Sample
from transfer_cli.errors import UserError


def _samples(label: str, count: int, group_size: int = 1, split: str | None = None) -> list[Sample]:
    return [
        Sample(label, f"{label}{split}{number // group_size}", lambda: Image.new("L", (4, 4)), split)
        for number in range(count)
    ]


def test_splits_are_disjoint_and_hold_every_class_by_its_share() -> None:
    samples = [*_samples("a", 40), *_samples("b", 80)]
    chosen = sets.choose(samples, "made")
    ids = {split: {id(one) for one in found} for split, found in chosen.items()}
    assert sum(len(found) for found in ids.values()) == 120 == len(set().union(*ids.values()))
    assert Counter(one.label for one in chosen["val"]) == {"a": 6, "b": 12}
    assert Counter(one.label for one in chosen["test"]) == {"a": 10, "b": 20}


def test_the_draw_is_the_same_every_time_and_for_any_order_of_images() -> None:
    samples = [*_samples("a", 40), *_samples("b", 40)]
    first, second = sets.choose(samples, "made"), sets.choose(samples[::-1], "made")
    assert {one.group for one in first["test"]} == {one.group for one in second["test"]}
    assert {one.group for one in first["test"]} != {one.group for one in sets.choose(samples, "other")["test"]}


def test_images_of_a_group_stay_together() -> None:
    chosen = sets.choose(_samples("a", 60, group_size=4), "made")
    groups = [{one.group for one in found} for found in chosen.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_splits_that_a_set_brings_are_kept() -> None:
    chosen = sets.choose([*_samples("a", 40, split="train"), *_samples("a", 7, split="test")], "made")
    assert {split: len(found) for split, found in chosen.items()} == {"train": 34, "val": 6, "test": 7}


def test_a_class_that_cannot_be_in_all_splits_is_named() -> None:
    with pytest.raises(UserError, match="class b for a"):
        sets.choose([*_samples("a", 40), *_samples("b", 1)], "made")


def test_quotas_add_up_and_leave_no_class_out() -> None:
    assert sets.quotas({"a": 3, "b": 4}, 10) == {"a": 3, "b": 4}
    kept = sets.quotas({"a": 900, "b": 95, "c": 5}, 100)
    assert sum(kept.values()) == 100
    assert kept["c"] == 1
    assert kept["a"] > kept["b"]


def test_a_folder_becomes_a_set_once(pictures: Path, tmp_path: Path) -> None:
    to = sets.prepare(str(pictures), tmp_path / "sets")
    files = sorted(to.rglob("*.png"))
    assert len(files) == 120
    assert {file.relative_to(to).parts[:2] for file in files} == {
        (split, label) for split in sets.SPLITS for label in ("blue", "green", "red")
    }
    changed = files[0].stat().st_mtime_ns
    assert sets.prepare(str(pictures), tmp_path / "sets") == to
    assert files[0].stat().st_mtime_ns == changed


def test_two_of_our_sets_are_held_back() -> None:
    assert [name for name, source in sets.OFFLINE.items() if source.held_back] == ["materials", "instruments"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(drawings, "_STAMPS", str(tmp_path / "stamps"))
    with pytest.raises(UserError, match="apt-get install tuxpaint-stamps-default"):
        drawings.stamps()


def test_crops_of_one_photograph_and_its_variants_are_one_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["brick01.png", "brick01_broken.png", "brick02.png", "brick02_nm.png", "brick_door.png", "grass_dry.jpg"]
    with zipfile.ZipFile(tmp_path / "textures.pk3", "w") as archive:
        for number, name in enumerate(names):
            content = io.BytesIO()
            Image.new("RGB", (64, 32), (number, 0, 0)).save(content, "PNG")
            archive.writestr(f"textures/walls/{name}", content.getvalue())
    monkeypatch.setattr(held_back, "_TEXTURES", str(tmp_path / "textures.pk3"))
    found = held_back.materials()
    assert Counter((one.label, one.group) for one in found) == {
        ("brick", "textures/walls/brick01"): 8,
        ("brick", "textures/walls/brick02"): 4,
        ("grass", "textures/walls/grass_dry"): 4,
    }
    assert found[0].read().size == (32, 16)


def test_a_tone_is_a_line_where_its_pitch_is() -> None:
    times = np.arange(held_back._RATE) / held_back._RATE
    rows = [
        np.asarray(held_back._spectrogram(np.sin(2 * np.pi * hertz * times).astype(np.float32))).mean(1).argmax()
        for hertz in (300, 3000)
    ]
    assert rows[0] > rows[1] + 20


def test_a_set_of_torchvision_becomes_a_folder(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "data" / "eurosat" / "2750")
    to = sets.prepare("eurosat", tmp_path / "sets", path="data")
    assert {split: len(list((to / split).rglob("*.png"))) for split in sets.SPLITS} == {
        "train": 72,
        "val": 18,
        "test": 30,
    }
