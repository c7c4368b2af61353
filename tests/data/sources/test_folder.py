import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.loading import dataset
from transfer_cli.data.reading.listing import Listing
from transfer_cli.data.sources.folder import load, pictures_below, scan
from transfer_cli.errors import UserError

MakeImages = Callable[..., list[Path]]


@pytest.fixture
def flat(tmp_path: Path, make_images: MakeImages) -> Path:
    root = tmp_path / "pets"
    make_images(root / "cats", 3)
    make_images(root / "dogs", 4)
    return root


def shown(found: Listing, split: str = "train") -> list[tuple[str, str]]:
    return [(found.keys[index], found.classes[found.labels[index]]) for index in found.splits[split]]


def test_flat_class_folders_are_one_pool(flat: Path) -> None:
    found = scan(flat, labelled=True)
    assert found.classes == ("cats", "dogs")
    assert list(found.splits) == ["train"]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found.prefix + found.keys[0] == str(flat / "cats" / "0.png")
    assert found.read(0).size == (20, 16)
    assert found.notes == ()


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders(tmp_path: Path, make_images: MakeImages, val: str) -> None:
    for split, count in (("train", 3), (val, 2), ("test", 1)):
        for name in ("a", "b"):
            make_images(tmp_path / split / name, count)
    found = scan(tmp_path, labelled=True)
    assert {split: len(indices) for split, indices in found.splits.items()} == {"train": 6, "val": 4, "test": 2}
    assert shown(found, "test") == [("test/a/0.png", "a"), ("test/b/0.png", "b")]
    assert found.notes == ()


def test_missing_splits_are_said(tmp_path: Path, make_images: MakeImages) -> None:
    for name in ("a", "b"):
        make_images(tmp_path / "train" / name, 3)
    (tmp_path / "extra").mkdir()
    found = scan(tmp_path, labelled=True)
    assert list(found.splits) == ["train"]
    said = "\n".join(found.notes)
    assert "dataset.val_fraction" in said
    assert "dataset.test_fraction" in said
    assert "extra" in said


def test_a_class_unknown_to_train_is_named_with_the_nearest(tmp_path: Path, make_images: MakeImages) -> None:
    for folder in ("train/cats", "train/dogs", "val/cat"):
        make_images(tmp_path / folder, 3)
    with pytest.raises(UserError, match=r"val/cat.*Did you mean cats"):
        scan(tmp_path, labelled=True)


def test_a_class_without_val_images_is_said(tmp_path: Path, make_images: MakeImages) -> None:
    for folder in ("train/cats", "train/dogs", "val/cats", "test/cats", "test/dogs"):
        make_images(tmp_path / folder, 3)
    assert "val: no images of 1 of the classes (dogs)" in scan(tmp_path, labelled=True).notes[0]


def test_val_without_train_is_not_taken_for_a_class(tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path / "val" / "a", 1)
    make_images(tmp_path / "test" / "a", 1)
    with pytest.raises(UserError, match="no train folder"):
        scan(tmp_path, labelled=True)


def test_nested_hidden_foreign_and_unicode_files(flat: Path, make_images: MakeImages) -> None:
    make_images(flat / "cats" / "more" / "größe 猫, and spaces", 1)
    make_images(flat / ".hidden", 1)
    make_images(flat / "dogs" / ".cache", 1)
    (flat / "dogs" / ".DS_Store").write_text("x")
    (flat / "dogs" / "notes.txt").write_text("x")
    (flat / "README.md").write_text("x")
    shutil.copy(flat / "dogs" / "0.png", flat / "dogs" / "z.PNG")
    found = scan(flat, labelled=True)
    assert found.classes == ("cats", "dogs")
    assert ("cats/more/größe 猫, and spaces/0.png", "cats") in shown(found)
    assert ("dogs/z.PNG", "dogs") in shown(found)
    assert len(found.keys) == 9
    assert "1 files are no images" in found.notes[0]
    assert "dogs/notes.txt" in found.notes[0]


def test_links_may_lead_anywhere_but_never_change_labels(flat: Path, tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path / "elsewhere", 2)
    make_images(tmp_path / "birds", 3)
    (flat / "birds").symlink_to(tmp_path / "birds")  # a class may be a link
    (flat / "cats" / "linked").symlink_to(tmp_path / "elsewhere")  # and so may a folder in it
    for name, target in {"loop": flat / "cats", "up": flat, "root": "/", "other": flat / "dogs"}.items():
        (flat / "cats" / name).symlink_to(target)
    (flat / "cats" / "broken.png").symlink_to(tmp_path / "gone.png")
    found = scan(flat, labelled=True)
    assert np.bincount(found.labels).tolist() == [3, 5, 4]
    assert found.classes == ("birds", "cats", "dogs")


def test_order_is_by_class_then_path(flat: Path, make_images: MakeImages) -> None:
    for folder in ("ants", "ants/x", "ants/y", "ants/x/deeper"):
        make_images(flat / folder, 1)
    found = scan(flat, labelled=True)
    assert found.keys[:4] == ["ants/0.png", "ants/x/0.png", "ants/x/deeper/0.png", "ants/y/0.png"]
    assert found.keys[4] == "cats/0.png"


@pytest.mark.parametrize("how", ["empty", "only text"])
def test_an_empty_class_is_named(flat: Path, how: str) -> None:
    (flat / "eels").mkdir()
    if how == "only text":
        (flat / "eels" / "a.txt").write_text("x")
    with pytest.raises(UserError, match="eels: no images"):
        scan(flat, labelled=True)


def test_one_class_is_refused(tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path / "cats", 3)
    with pytest.raises(UserError, match=r"only one class \(cats\)"):
        scan(tmp_path, labelled=True)


def test_images_without_class_folders_are_refused(tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path, 3)
    with pytest.raises(UserError, match="no class folders"):
        scan(tmp_path, labelled=True)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("pet", "Did you mean .*pets"),
        ("pets/cats/0.png", "expected a folder of images, found a file"),
        ("", "not set"),
        ("zzz/y", "nearest exist"),
    ],
)
def test_a_wrong_path_names_the_key(flat: Path, path: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"dataset\.path.*{said}"):
        load(dataset("folder", flat.parent / path if path else None))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(flat: Path) -> None:
    (flat / "cats").chmod(0)
    with pytest.raises(UserError, match="cats: cannot be listed"):
        scan(flat, labelled=True)
    (flat / "cats").chmod(0o700)


def test_split_folders_in_capitals_are_no_classes(tmp_path: Path, make_images: MakeImages) -> None:
    for folder in ("Train/a", "Train/b", "Test/a", "Test/b"):
        make_images(tmp_path / folder, 2)
    found = scan(tmp_path, labelled=True)
    assert found.classes == ("a", "b")
    assert {split: len(members) for split, members in found.splits.items()} == {"train": 4, "test": 4}


def test_an_empty_class_says_what_is_there_instead(flat: Path) -> None:
    (flat / "eels").mkdir()
    (flat / "eels" / "IMG_1.heic").write_text("x")
    with pytest.raises(UserError, match=r"eels: no images in this class folder \(only IMG_1\.heic\)"):
        scan(flat, labelled=True)


def test_images_without_classes_at_any_depth(tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path / "set", 2)
    make_images(tmp_path / "set" / "holiday" / "2024", 3)
    found = scan(tmp_path / "set", labelled=False)
    assert found.classes == ()
    assert found.labels.tolist() == [-1] * 5
    assert found.keys[:3] == ["0.png", "1.png", "holiday/2024/0.png"]
    assert list(found.splits) == ["train"]


def test_images_without_classes_keep_their_splits(tmp_path: Path, make_images: MakeImages) -> None:
    for folder, count in (("train/x", 2), ("train", 1), ("val", 3)):
        make_images(tmp_path / folder, count)
    found = scan(tmp_path, labelled=False)
    assert {split: [found.keys[i] for i in members] for split, members in found.splits.items()} == {
        "train": ["train/0.png", "train/x/0.png", "train/x/1.png"],
        "val": ["val/0.png", "val/1.png", "val/2.png"],
    }
    assert found.notes == ()


def test_images_without_classes_keep_their_splits_in_a_folder_more(tmp_path: Path, make_images: MakeImages) -> None:
    for folder, count in (("set/training_set/x", 2), ("set/test_set", 3), ("lost+found", 1)):
        make_images(tmp_path / folder, count)
    make_images(tmp_path / "set", 1)
    found = scan(tmp_path, labelled=False)
    assert {split: len(members) for split, members in found.splits.items()} == {"train": 2, "test": 3}
    assert found.keys[0] == "training_set/x/0.png"
    said = "\n".join(found.notes)
    assert "its one folder is set" in said
    assert "1 image beside the split folders is left out: 0.png" in said


def test_the_same_splits_from_the_folder_and_from_the_one_around_it(tmp_path: Path, make_images: MakeImages) -> None:
    for name in ("a", "b"):
        make_images(tmp_path / "pets" / name, 3)
    around, own = scan(tmp_path, labelled=True), scan(tmp_path / "pets", labelled=True)
    assert (around.keys, around.prefix) == (own.keys, own.prefix)


@pytest.mark.parametrize("mark", ["runs/one/environment.json", "sweeps/one/leaderboard.csv"])
def test_the_folder_of_runs_is_no_class(flat: Path, make_images: MakeImages, mark: str) -> None:
    """Runs that were started among the class folders, with dataset.path=., leave their plots there."""
    before = scan(flat, labelled=True)
    make_images(flat / "outputs" / "runs" / "one" / "plots", 2)
    assert scan(flat, labelled=True).classes == ("cats", "dogs", "outputs")  # so far it may be anything
    (flat / "outputs" / mark).parent.mkdir(parents=True, exist_ok=True)
    (flat / "outputs" / mark).write_text("{}")
    after = scan(flat, labelled=True)
    assert (after.classes, after.keys) == (before.classes, before.keys)
    assert "1 system folder(s) are ignored: outputs" in after.notes[0]
    assert pictures_below(flat)[1]["system folder"] == ["outputs"]


def test_pictures_without_a_usual_ending_are_not_called_no_images(flat: Path) -> None:
    shutil.copy(flat / "dogs" / "0.png", flat / "dogs" / "photo")
    (flat / "dogs" / "notes.txt").write_text("x")
    note = scan(flat, labelled=True).notes[0]
    assert "2 files do not end as images do and are ignored: dogs/notes.txt, dogs/photo (pictures by" in note
    assert "under a name such as x.png: dogs/photo)" in note


def test_a_link_back_is_not_followed_for_ever(tmp_path: Path) -> None:
    (tmp_path / "set" / "in").mkdir(parents=True)
    (tmp_path / "set" / "in" / "back").symlink_to(tmp_path / "set")
    with pytest.raises(UserError, match="only one class"):
        scan(tmp_path / "set", labelled=True)


def test_a_folder_of_a_test_alone_is_a_pool_without_classes(tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path / "test", 2)
    assert scan(tmp_path, labelled=False).splits["train"].tolist() == [0, 1]


def test_no_images_at_all_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"no images in this folder \(only notes\.txt\)"):
        scan(tmp_path, labelled=False)


def test_folders_may_be_deeper_than_pythons_stack(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flat / "cats")
    try:
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        shutil.copy(flat / "dogs" / "0.png", "deep.png")
        found = scan(flat, labelled=True)
    finally:  # pytest's own removal of trees is recursive
        subprocess.run(["rm", "-rf", flat / "cats" / "d"], check=True, cwd=flat)
    assert np.bincount(found.labels).tolist() == [4, 4]
    assert found.keys[3] == "cats/" + "d/" * 1200 + "deep.png"
