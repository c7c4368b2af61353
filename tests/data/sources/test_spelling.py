"""Labels, columns and paths of tables as people have them: one class in several spellings, files under other names."""

from __future__ import annotations

import io
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.loading import load
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.errors import UserError

MakeImages = Callable[..., list[Path]]
NFD = unicodedata.normalize("NFD", "größe")


@pytest.fixture
def folder(tmp_path: Path, make_images: MakeImages) -> Path:
    make_images(tmp_path / "photos", 12)
    return tmp_path


def table(folder: Path, labels: list[str], header: str = "path,label", **keys: object) -> ImageSet:
    rows = [f"photos/{number}.png,{labels[number % len(labels)]}" for number in range(12)]
    (folder / "list.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    return load("manifest", folder / "list.csv", **keys)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1", "1.0", "01", "2"], ("1", "2")),
        (["1", "2.0", "1.0", "10"], ("1", "2", "10")),
        (["0", "-0", "0.50", "0.5"], ("0", "0.5")),
        (["größe", NFD, "b"], ("b", "größe")),
        (["cat", "\u200bcat", "cat\u00a0", "dog"], ("cat", "dog")),
        (["cat\u200f", "cat", "dog"], ("cat", "dog")),
        (["big  cat", "big cat", "dog"], ("big cat", "dog")),
        (["'cat'", "cat", "dog"], ("cat", "dog")),
        (["cat", ' "cat"', "dog"], ("cat", "dog")),
    ],
)
def test_one_class_in_several_spellings_is_one_and_said(
    folder: Path, labels: list[str], classes: tuple[str, ...]
) -> None:
    images = table(folder, labels)
    assert images.classes == classes
    assert any("taken for" in note for note in images.notes), images.notes


@pytest.mark.parametrize(
    "labels", [["01", "02", "10"], ["1.0", "2.0"], [NFD, "b"], ["'a'", "'b'"], ["1.5", "2"], ["x 1", "x 2"]]
)
def test_labels_in_one_spelling_keep_it_without_a_word(folder: Path, labels: list[str]) -> None:
    images = table(folder, labels)
    assert set(images.classes) == set(labels)
    assert not images.notes


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["nan", "cat", "dog"], "nan is kept as a class"),
        (["None", "cat", "N/A"], "N/A, None is kept as a class"),
        (["1", "01", "cat"], "differ in spelling alone are kept apart: '01' and '1'"),
        (["1.0", "1", "cat"], "differ in spelling alone are kept apart: '1' and '1.0'"),
        (["1e0", "1", "2"], "differ in spelling alone are kept apart: '1' and '1e0'"),
        (["0x1", "1", "2"], "differ in spelling alone are kept apart: '0x1' and '1'"),
        (["\uff11", "1", "2"], "differ in spelling alone are kept apart: '1' and '\uff11'"),
        (["a-b", "a\u2013b", "c"], "differ in spelling alone are kept apart: 'a-b' and 'a\u2013b'"),
        (["\u201ca\u201d", "a", "c"], "differ in spelling alone are kept apart: 'a' and '\u201ca\u201d'"),
        (["Cat", "cat", "dog"], "differ in case alone are kept apart: Cat and cat"),
    ],
)
def test_what_may_be_one_class_or_none_is_warned_of(folder: Path, labels: list[str], said: str) -> None:
    images = table(folder, labels)
    assert len(images.classes) == 3
    assert any(said in note for note in images.notes), images.notes


@pytest.mark.parametrize("word", ["nan", "NaN", "null", "<NA>", "?"])
def test_a_word_for_nothing_among_numbers_is_no_label(folder: Path, word: str) -> None:
    with pytest.raises(UserError, match=rf"no label:\n  line 4: {word.replace('?', '[?]')}"):
        table(folder, ["1", "2", word])


def test_two_spellings_of_a_label_do_not_contradict_each_other(folder: Path) -> None:
    (folder / "list.csv").write_text("path,label\n" + "".join(f"photos/{i}.png,{i % 2}\n" for i in range(12)))
    with (folder / "list.csv").open("a") as file:
        file.write("photos/1.png,1.0\n")
    images = load("manifest", folder / "list.csv")
    assert images.classes == ("0", "1")
    assert any("repeat an earlier one" in note for note in images.notes)


def test_quotes_after_a_blank(folder: Path) -> None:
    rows = [f'photos/{i}.png, "{"cat, big" if i % 2 else "dog"}"' for i in range(12)]
    (folder / "list.csv").write_text("\n".join(['path, "label"', *rows]))
    images = load("manifest", folder / "list.csv")
    assert images.classes == ("cat, big", "dog")
    assert any("quotes after a blank" in note for note in images.notes)


def test_a_quote_after_a_comma_within_quotes_is_text(folder: Path) -> None:
    images = table(folder, ['"say, ""a"""', "b"])
    assert images.classes == ("b", 'say, "a"')
    assert not images.notes


def test_a_column_in_another_encoding_of_accents(folder: Path) -> None:
    assert table(folder, ["a", "b"], f"path,{NFD}", label_column="größe").classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.png", "photos\\a.png"),
        ("a.png", ".\\photos\\a.png"),
        ("a.png", "photos/a.png  "),
        ("a.png", " photos/a.png"),
        ("a.png", "photos\\a.png "),
        ("a.png", "photos /a.png"),
        (f"{NFD}.png", "photos/größe.png"),
        ("größe.png", f"photos/{NFD}.png"),
        ("größe.png", f"photos\\{NFD}.png "),
        ("a .png ", "photos/a .png"),
        ("a.png", "../{folder}/photos\\a.png"),
    ],
)
def test_a_path_finds_the_file_that_it_means(folder: Path, name: str, written: str) -> None:
    (folder / "photos" / "0.png").rename(folder / "photos" / name)
    rows = [f"photos/{i}.png,{i % 2}" for i in range(1, 12)]
    (folder / "list.csv").write_text(
        "\n".join(["path,label", *rows, f"{written.format(folder=folder.name)},0"]), encoding="utf-8"
    )
    images = load("manifest", folder / "list.csv")
    found = next(index for index, key in enumerate(images.ids) if key.endswith(name))
    assert images.read(found).size == (20, 16)
    assert any("1 path(s) are spelt otherwise than their files (line 13" in note for note in images.notes)


def test_a_file_of_just_that_name_comes_first(folder: Path) -> None:
    (folder / "photos" / "0.png").rename(folder / "photos\\0.png")
    rows = ["photos\\0.png,1", *(f"photos/{i}.png,{i % 2}" for i in range(1, 12))]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]))
    images = load("manifest", folder / "list.csv")
    assert images.ids[0] == f"{folder}/photos\\0.png"
    assert not images.notes


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("photos/./A.PNG", "there is photos/a.png; upper and lower case differ"),
        ("Photos\\a.png", "there is photos/a.png; upper and lower case differ"),
        ("photos/a%2Epng", "there is photos/a.png"),
        ("/data/list.csv", "there is list.csv, right beside the table"),
        ("C:\\data\\list.csv", "there is list.csv, right beside the table"),
    ],
)
def test_a_path_that_finds_none_says_what_differs(folder: Path, written: str, said: str) -> None:
    (folder / "photos" / "0.png").rename(folder / "photos" / "a.png")
    (folder / "list.csv").write_text(f"path,label\n{written},x\n")
    with pytest.raises(UserError) as caught:
        load("manifest", folder / "list.csv")
    assert f"line 2: {written} ({said})" in str(caught.value)


@pytest.mark.parametrize("written", ["..", "photos\\\\..", "\\\\", "photos/", ".", "photos\\\\ "])
def test_a_folder_is_no_image(folder: Path, written: str) -> None:
    (folder / "list.csv").write_text(f"path,label\n{written},x\n")
    with pytest.raises(UserError, match="no such image file"):
        load("manifest", folder / "list.csv")


def test_two_files_that_look_alike_are_not_guessed_between(folder: Path) -> None:
    (folder / "photos" / "0.png").rename(folder / "photos" / "a.png ")
    (folder / "photos" / "1.png").rename(folder / "photos" / " a.png")
    (folder / "list.csv").write_text("path,label\nphotos/a.png,x\n")
    with pytest.raises(UserError, match=r"no such image file:\n  line 2: photos/a\.png$"):
        load("manifest", folder / "list.csv")


def test_labels_of_shards_too(tmp_path: Path, make_images: MakeImages) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for number, file in enumerate(make_images(tmp_path / "photos", 12)):
            for ending, data in (("png", file.read_bytes()), ("cls", ["1", "01", "2"][number % 3].encode())):
                info = tarfile.TarInfo(f"{number}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    images = load("webdataset", tmp_path / "set.tar")
    assert images.classes == ("1", "2")
    assert any("taken for one class: '1', '01' are 1" in note for note in images.notes)


def test_labels_of_hugging_face_sets_too(tmp_path: Path, make_images: MakeImages) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra: pip install 'transfer-run[hf]'")
    files = [str(file) for file in make_images(tmp_path / "photos", 12)]
    values = {"image": files, "label": ["größe", NFD, "b"] * 4}
    datasets.Dataset.from_dict(values).cast_column("image", datasets.Image()).save_to_disk(str(tmp_path / "set"))
    images = load("hf", tmp_path / "set")
    assert images.classes == ("b", "größe")
    assert any("taken for one class" in note for note in images.notes)


def test_columns_in_another_case_are_read_and_said(folder: Path) -> None:
    splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    rows = [f"photos/{i}.png,{'ab'[i % 2]},{split}" for i, split in enumerate(splits)]
    (folder / "list.csv").write_text("\n".join(["Path,LABEL,Split", *rows]))
    images = load("manifest", folder / "list.csv")
    assert {split: len(members) for split, members in images.splits.items()} == {"train": 6, "val": 3, "test": 3}
    for said in ("Path is read as path", "LABEL is read as label", "Split is read as split"):
        assert any(said in note for note in images.notes), images.notes


def test_a_column_that_names_splits_is_not_passed_over_in_silence(folder: Path) -> None:
    rows = [f"photos/{i}.png,{'ab'[i % 2]},{('train', 'test')[i % 2]}" for i in range(12)]
    (folder / "list.csv").write_text("\n".join(["path,label,subset", *rows]))
    assert any("dataset.split_column=subset" in note for note in load("manifest", folder / "list.csv").notes)
