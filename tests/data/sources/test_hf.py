import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import dataset
from transfer_cli.data.reading.listing import Listing
from transfer_cli.data.sources.hf import load
from transfer_cli.errors import UserError

datasets = pytest.importorskip("datasets", reason="needs the extra: pip install 'transfer-run[hf]'")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.fixture
def files(tmp_path: Path, make_images: Callable[..., list[Path]]) -> list[Path]:
    return make_images(tmp_path / "photos", 6)


def part(images: list[Any], labels: list[Any], names: list[str] | None = None, column: str = "image") -> Any:
    kind = datasets.ClassLabel(names=names) if names else None
    features = {column: datasets.Image(), "label": kind} if kind else None
    made = datasets.Dataset.from_dict({column: images, "label": labels}, features and datasets.Features(features))
    return made if kind else made.cast_column(column, datasets.Image())


def saved(folder: Path, **parts: Any) -> str:
    datasets.DatasetDict(parts).save_to_disk(folder)
    return str(folder)


def pixels(found: Listing) -> list[bytes]:
    return [found.read(index).tobytes() for index in range(len(found.keys))]


def test_a_saved_folder_with_its_splits_and_classes(tmp_path: Path, files: list[Path]) -> None:
    paths, names = [str(file) for file in files], ["zebra", "ant"]
    folder = saved(
        tmp_path / "set",
        train=part(paths[:3], [0, 1, 0], names),
        validation=part(paths[3:5], [1, 0], names),
        extra=part(paths[5:], [0], names),
    )
    found = load(dataset("hf", folder))
    assert found.classes == ("zebra", "ant")  # in the order of the set, not of the alphabet
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert {split: members.tolist() for split, members in found.splits.items()} == {"train": [0, 1, 2], "val": [3, 4]}
    assert pixels(found) == [Image.open(file).tobytes() for file in files[:5]]
    assert found.prefix + found.keys[3] == f"{folder}/val/0"
    said = "\n".join(found.notes)
    assert "parts that are no split are ignored: extra" in said
    assert "no test images" in said


def test_images_can_be_had_as_they_were_encoded(tmp_path: Path, files: list[Path]) -> None:
    folder = saved(tmp_path / "set", train=part([str(file) for file in files], [0, 1] * 3, ["a", "b"]))
    encoded = load(dataset("hf", folder)).encoded
    assert encoded is not None
    assert [encoded.encoded(index) for index in range(6)] == [file.read_bytes() for file in files]
    before = [encoded.location(index) for index in range(6)]
    assert len(set(before)) == 6
    arrow = Path(before[0][0])
    arrow.write_bytes(arrow.read_bytes())
    after = load(dataset("hf", folder)).encoded
    assert after is not None
    assert all(after.location(index) != before[index] for index in range(6))


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_files_by_pattern(tmp_path: Path, files: list[Path], ending: str) -> None:
    for number in range(2):
        half = part([str(file) for file in files[3 * number : 3 * number + 3]], [0, 1, 0], ["a", "b"])
        if ending == "parquet":
            half.to_parquet(tmp_path / f"{number}.parquet")
        else:
            half.save_to_disk(tmp_path / f"saved{number}")
            next((tmp_path / f"saved{number}").glob("*.arrow")).rename(tmp_path / f"{number}.arrow")
    found = load(dataset("hf", str(tmp_path / f"*.{ending}")))
    assert found.classes == ("a", "b")
    assert len(found.keys) == 6
    assert pixels(found) == [Image.open(file).tobytes() for file in files]


def test_images_in_files_of_their_own(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = part([str(file) for file in files], ["x", "y"] * 3)
    monkeypatch.setattr(datasets, "load_from_disk", lambda path: made)
    folder = files[0].parent
    (folder / "state.json").write_text("{}")
    found = load(dataset("hf", str(folder)))
    assert found.encoded is not None
    assert found.encoded.location(4) == (str(files[4]), "")
    assert pixels(found) == [Image.open(file).tobytes() for file in files]
    files[4].unlink()
    with pytest.raises(UserError, match=r"photos/train/4: .*4\.png: no such file"):
        found.read(4)


def test_columns_are_found_by_type_or_named(tmp_path: Path, files: list[Path]) -> None:
    paths = [str(file) for file in files]
    made = part(paths, ["x", "y"] * 3, column="photo").add_column("kind", ["u", "v", "w"] * 2)
    folder = saved(tmp_path / "set", train=made)
    assert load(dataset("hf", folder)).classes == ("x", "y")
    assert load(dataset("hf", folder, label_column="kind")).classes == ("u", "v", "w")
    assert load(dataset("hf", folder, image_column="photo")).read(0).size == (20, 16)
    for columns, told in (
        ({"label_column": "kinds"}, r"dataset\.label_column=kinds.*Did you mean kind"),
        ({"image_column": "img"}, r"dataset\.image_column=img.*It has photo, label, kind"),
        ({"image_column": "kind"}, r"u: no such file"),
    ):
        with pytest.raises(UserError, match=told):
            load(dataset("hf", folder, **columns)).read(0)


def test_a_test_split_without_labels_is_left_out(tmp_path: Path, files: list[Path]) -> None:
    paths, names = [str(file) for file in files], ["a", "b"]
    parts = {"train": part(paths[:4], [0, 1, 0, 1], names), "test": part(paths[4:], [-1, -1], names)}
    found = load(dataset("hf", saved(tmp_path / "set", **parts)))
    assert list(found.splits) == ["train"]
    assert "test has no labels and is left out" in found.notes[0]
    partly = {**parts, "test": part(paths[4:], [-1, 1], names)}
    with pytest.raises(UserError, match="1 of 2 rows of test have no label"):
        load(dataset("hf", saved(tmp_path / "other", **partly)))


def test_images_without_labels(tmp_path: Path, files: list[Path]) -> None:
    folder = saved(tmp_path / "set", train=part([str(file) for file in files], [-1] * 6, ["a", "b"]))
    found = load(dataset("hf", folder, labels="none"))
    assert (found.classes, found.labels.tolist()) == ((), [-1] * 6)


def test_wrong_sets_name_the_key(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "hollow").mkdir()
    one = saved(tmp_path / "one", train=part([str(files[0])], [0], ["a"]))
    for path, hub, told in (
        (None, None, r"dataset\.path=.*dataset\.hub="),
        ("x", "y", r"dataset=hf needs one of them"),
        (str(tmp_path / "notes.txt"), None, r"dataset\.path=.*Parquet or Arrow"),
        (str(tmp_path / "hollow"), None, r"dataset\.path=.*hollow: cannot be loaded"),
        (one, None, r"only one class \(a\)"),
    ):
        with pytest.raises(UserError, match=told):
            load(dataset("hf", path, hub=hub))


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"dataset\.hub=some/set: cannot be loaded"):
        load(dataset("hf", hub="some/set"))
    assert time.monotonic() - started < 5
    assert constants.HF_HUB_OFFLINE is False


def test_labels_of_the_set_are_those_of_the_images(tmp_path: Path, files: list[Path]) -> None:
    """A shuffled set keeps images and labels together."""
    paths = [str(file) for file in files]
    shuffled = part(paths, ["c0", "c1", "c2", "c3", "c4", "c5"]).shuffle(seed=1)
    found = load(dataset("hf", saved(tmp_path / "set", train=shuffled)))
    for index, label in enumerate(found.labels):
        assert np.array_equal(np.array(found.read(index)), np.array(Image.open(files[label])))
