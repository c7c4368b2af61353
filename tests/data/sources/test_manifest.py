import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import dataset
from transfer_cli.data.reading.listing import Listing
from transfer_cli.data.reading.parquet import ParquetImages
from transfer_cli.data.sources.manifest import load
from transfer_cli.errors import UserError

PLAIN = "path,label\n" + "".join(f"photos/{number}.png,{'cat' if number < 3 else 'dog'}\n" for number in range(6))


@pytest.fixture
def folder(tmp_path: Path, make_images: Callable[..., list[Path]]) -> Path:
    make_images(tmp_path / "photos", 6)
    return tmp_path


def listed(folder: Path, content: str | bytes, name: str = "list.csv", **columns: str) -> Listing:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(dataset("manifest", file, **columns))


def labelled(found: Listing) -> list[tuple[str, str]]:
    return [(key, found.classes[label]) for key, label in zip(found.keys, found.labels, strict=True)]


def test_paths_are_relative_to_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = listed(folder, PLAIN)
    assert found.classes == ("cat", "dog")
    assert labelled(found)[2:4] == [("photos/2.png", "cat"), ("photos/3.png", "dog")]
    assert found.prefix + found.keys[0] == str(folder / "photos" / "0.png")
    assert np.array_equal(np.array(found.read(4)), np.array(Image.open(folder / "photos" / "4.png")))
    assert list(found.splits) == ["train"] and found.weights is None and found.notes == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "\ufeff" + PLAIN),
        ("a.csv", PLAIN.replace("\n", "\r\n")),
        ("a.csv", PLAIN.replace("\n", "\r")),
        ("a.csv", PLAIN.replace(",", ";")),
        ("a.csv", PLAIN.replace(",", "\t")),
        ("a.tsv", PLAIN.replace(",", "\t")),
        ("a.txt", PLAIN.replace("path,label", " path , label ").replace(",cat", ", cat ")),
        ("a.csv", "\n\n" + PLAIN.replace("\n", "\n,\n")),
        ("a.csv", PLAIN.rstrip("\n")),
        ("a.csv", PLAIN.replace("photos/0.png", '"photos/0.png"').replace("cat", '"cat"')),
        ("a.csv", PLAIN.replace("photos/", "./photos/../photos/")),
    ],
    ids=[
        "BOM",
        "CRLF",
        "CR",
        "semicolons",
        "tabs in csv",
        "tsv",
        "blanks",
        "empty rows",
        "no newline",
        "quotes",
        "dots",
    ],
)
def test_tables_as_tools_write_them(folder: Path, name: str, content: str) -> None:
    assert labelled(listed(folder, content, name)) == labelled(listed(folder, PLAIN))


def test_utf16_as_spreadsheets_write_it(folder: Path) -> None:
    assert labelled(listed(folder, PLAIN.replace("cat", "Käfer").encode("utf-16")))[0] == ("photos/0.png", "Käfer")


def test_separators_and_newlines_within_quotes(folder: Path) -> None:
    (folder / "photos" / "0.png").rename(folder / "photos" / 'a, "b"\nc.png')
    found = listed(folder, PLAIN.replace("photos/0.png,cat", '"photos/a, ""b""\nc.png","cat, big"'))
    assert labelled(found)[0] == ('photos/a, "b"\nc.png', "cat, big")
    assert found.read(0).size == (20, 16)


def test_numbers_are_names_in_the_order_of_numbers(folder: Path) -> None:
    rows = [f"photos/{index}.png,{label}" for index, label in enumerate([10, 9, 2, 10, 9, 2])]
    assert listed(folder, "\n".join(["path,label", *rows])).classes == ("2", "9", "10")
    padded = "\n".join(["path,label", *rows]).replace(",9", ",09")
    assert listed(folder, padded).classes == ("09", "10", "2")  # then they are names like any other


def test_absolute_paths_stand_for_themselves(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    found = listed(tmp_path / "lists", PLAIN.replace("photos", str(folder / "photos")))
    assert found.keys[0] == str(folder / "photos" / "0.png")
    assert found.read(0).size == (20, 16)


def test_splits_and_weights(folder: Path) -> None:
    splits = ["train", "Training", "valid", "train", "test", "dev"]
    labels = ["cat", "dog", "cat", "dog", "cat", "dog"]
    rows = [f"photos/{i}.png,{labels[i]},{splits[i]},{i / 2}" for i in range(6)]
    found = listed(folder, "\n".join(["path,label,split,weight", *rows]))
    assert {split: members.tolist() for split, members in found.splits.items()} == {
        "train": [0, 1, 3],
        "val": [2, 5],
        "test": [4],
    }
    assert found.weights is not None
    assert found.weights.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert found.weights.dtype == np.float32
    assert "no test images of 1 of the classes (dog)" in found.notes[0]


def test_a_missing_split_is_said(folder: Path) -> None:
    rows = [f"photos/{i}.png,{'ab'[i % 2]},{'test' if i > 3 else 'train'}" for i in range(6)]
    assert "no val images; they are cut from train" in listed(folder, "\n".join(["path,label,split", *rows])).notes[0]


def test_columns_may_have_other_names(folder: Path) -> None:
    content = PLAIN.replace("path,label", "file,kind").replace("\nphotos", "\nphotos")
    assert labelled(listed(folder, content, image_column="file", label_column="kind")) == labelled(
        listed(folder, PLAIN)
    )


def test_images_without_labels(folder: Path) -> None:
    (folder / "list.csv").write_text(PLAIN.replace("label", "anything"))
    found = load(dataset("manifest", folder / "list.csv", labels="none"))
    assert found.classes == ()
    assert found.labels.tolist() == [-1] * 6


def test_rows_that_repeat_count_once(folder: Path) -> None:
    found = listed(folder, PLAIN + "photos/1.png,cat\n./photos/1.png,cat\n")
    assert len(found.keys) == len(found.labels) == 6
    assert "2 row(s) repeat an earlier one (line 8)" in found.notes[0]


WRONG: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": (b"", ["the file is empty"]),
    "header alone": ("path,label\n", ["no rows"]),
    "no path column": (PLAIN.replace("path", "paths"), ["dataset.image_column=path", "Did you mean paths?"]),
    "no label column": (PLAIN.replace("label", "class"), ["dataset.label_column=label", "path, class"]),
    "column twice": (PLAIN.replace("path,label", "path,path"), ["line 1", "'path' twice"]),
    "missing images": (
        PLAIN.replace("photos/1", "photos/x").replace("photos/4", "photos/y"),
        ["no such image file", "line 3: photos/x.png", "line 6: photos/y.png"],
    ),
    "a folder for an image": (PLAIN.replace("photos/1.png", "photos"), ["line 3: photos"]),
    "no path": (PLAIN.replace("photos/1.png", ""), ["no path", "line 3"]),
    "no label": (PLAIN.replace("photos/1.png,cat", "photos/1.png, "), ["no label", "line 3"]),
    "too few cells": (PLAIN.replace("photos/1.png,cat", "photos/1.png"), ["line 3: 1 cells", "header has 2"]),
    "unquoted comma": (PLAIN.replace("photos/1.png", "photos/1,2.png"), ["line 3: 3 cells", "Quote"]),
    "open quote": (PLAIN.replace("photos/1.png", '"photos/1.png'), ["line 3", "quotes"]),
    "not UTF-8": (PLAIN.replace("cat", "Käfer").encode("latin-1"), ["line 2", "UTF-8"]),
    "one class": (PLAIN.replace("dog", "cat"), ["only one class (cat)"]),
    "two labels for an image": (
        PLAIN + "photos/0.png,dog\n",
        ["listed differently before", "line 8: photos/0.png, as in line 2"],
    ),
}


@pytest.mark.parametrize(("content", "told"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_table_names_file_and_line(folder: Path, content: str | bytes, told: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        listed(folder, content)
    assert str(folder / "list.csv") in str(caught.value)
    for word in told:
        assert word in str(caught.value)


def test_up_to_five_of_a_kind_are_listed(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        listed(folder, PLAIN.replace("photos", "nowhere"))
    assert str(caught.value).count("nowhere/") == 5
    assert "... and 1 more" in str(caught.value)


SPLIT = "path,label,split,weight\n" + "".join(f"photos/{i}.png,{'ab'[i % 2]},train,1\n" for i in range(6))


@pytest.mark.parametrize(
    ("found", "wrong", "told"),
    [
        ("2.png,a,train", "2.png,a,trian", "line 4: trian"),
        ("2.png,a,train", "2.png,a,", "line 4: nothing"),
        ("train", "test", "no images in train"),
        ("2.png,a,train", "2.png,c,test", "class 'c' is in test but not in train"),
        ("2.png,a,train,1", "2.png,a,train,heavy", "line 4: heavy"),
        ("2.png,a,train,1", "2.png,a,train,-1", "line 4: -1"),
        ("2.png,a,train,1", "2.png,a,train,nan", "line 4: nan"),
    ],
)
def test_wrong_splits_and_weights_name_the_line(folder: Path, found: str, wrong: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        listed(folder, SPLIT.replace(found, wrong))


@pytest.mark.parametrize("role", ["split", "weight"])
def test_a_column_that_was_asked_for_must_be_there(folder: Path, role: str) -> None:
    with pytest.raises(UserError, match=rf"dataset\.{role}_column=fold"):
        listed(folder, PLAIN, **{f"{role}_column": "fold"})


def test_a_folder_is_no_table(folder: Path) -> None:
    with pytest.raises(UserError, match="found a folder"):
        load(dataset("manifest", str(folder)))


def parquet(folder: Path, **columns: Any) -> Path:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'transfer-run[parquet]'")
    import pyarrow.parquet as pq

    pq.write_table(arrow.table(columns), folder / "list.parquet", row_group_size=2)
    return folder / "list.parquet"


def encoded(folder: Path, count: int = 6) -> list[bytes]:
    return [(folder / "photos" / f"{number}.png").read_bytes() for number in range(count)]


def test_parquet_of_paths(folder: Path) -> None:
    paths = [f"photos/{number}.png" for number in range(6)]
    found = load(dataset("manifest", str(parquet(folder, path=paths, label=[1, 0, 1, 0, 1, 0]))))
    assert labelled(found)[:2] == [("photos/0.png", "1"), ("photos/1.png", "0")]
    assert found.read(5).size == (20, 16)


@pytest.mark.parametrize("nested", [False, True], ids=["bytes", "as Hugging Face stores them"])
def test_parquet_of_images(folder: Path, nested: bool) -> None:
    images: list[Any] = encoded(folder)
    if nested:
        images = [{"bytes": image, "path": None} for image in images]
    file = parquet(folder, path=images, label=["a", "b"] * 3)
    found = load(dataset("manifest", str(file)))
    assert found.encoded is not None
    for index in (5, 0, 3, 4):  # across row groups of two, there and back
        assert found.encoded.encoded(index) == encoded(folder)[index]
        assert np.array_equal(np.array(found.read(index)), np.array(Image.open(folder / "photos" / f"{index}.png")))
    assert len({found.encoded.location(index) for index in range(6)}) == 6
    assert found.prefix + found.keys[3] == f"{file}/3"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"path": ["photos/0.png", None], "label": ["a", "b"]}, "no path:\n  row 1"),
        ({"path": ["photos/0.png", "photos/1.png"], "label": ["a", None]}, "no label:\n  row 1"),
        ({"path": ["photos/0.png", "photos/1.png"], "label": [1.0, float("nan")]}, "no label:\n  row 1"),
        ({"path": ["photos/0.png", "photos/1.png"], "label": [["a"], ["b"]]}, "column label holds list"),
        ({"path": [[1], [2]], "label": ["a", "b"]}, "column path holds list"),
        ({"path": [], "label": []}, "no rows"),
        ({"file": ["a"], "label": ["a"]}, r"dataset\.image_column=path"),
    ],
)
def test_a_wrong_parquet_table_names_the_row(folder: Path, columns: dict[str, Any], told: str) -> None:
    file = parquet(folder, **columns)
    with pytest.raises(UserError, match=told):
        load(dataset("manifest", str(file)))


def test_an_empty_cell_is_a_damaged_image(folder: Path) -> None:
    file = parquet(folder, path=[*encoded(folder, 3), None], label=["a", "b"] * 2)
    with pytest.raises(UserError, match=r"list\.parquet/3: the cell holds no image"):
        load(dataset("manifest", str(file))).read(3)


def test_a_damaged_parquet_file_is_named(folder: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra: pip install 'transfer-run[parquet]'")
    (folder / "list.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match=r"list\.parquet: not a Parquet file"):
        load(dataset("manifest", str(folder / "list.parquet")))


def test_without_pyarrow_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "list.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'transfer-run\[parquet\]'"):
        load(dataset("manifest", str(folder / "list.parquet")))


def test_few_row_groups_stay_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = parquet(folder, path=encoded(folder), label=["a", "b"] * 3)
    monkeypatch.setattr("transfer_cli.data.reading.parquet.KEEP_BYTES", 3 * len(encoded(folder)[0]))
    images = load(dataset("manifest", str(file))).encoded
    assert isinstance(images, ParquetImages)
    assert [images.encoded(index) for index in range(6)] == encoded(folder)
    (kept,) = images._kept.values()
    assert [*kept.groups] == [2]
