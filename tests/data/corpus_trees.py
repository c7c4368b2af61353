"""Bad and odd folders of images, each with what must come of it: its classes and counts and notes, or an error."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.data.pictures import PICTURE


@dataclass(frozen=True)
class Holds:
    """Images of each class over all splits, words of the notes, and splits that the folder brings along."""

    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train",)


@dataclass(frozen=True)
class Refused:
    """Words of the error."""

    words: str


@dataclass(frozen=True)
class Tree:
    """Something that fills a folder, and what must come of it."""

    fill: Callable[[Path], None]
    expected: Holds | Refused


def image(path: Path) -> None:
    """A small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.save(path, "PNG")


def classes(root: Path, *names: str, count: int = 3) -> None:
    """Folders of pictures."""
    for name in names:
        for number in range(count):
            image(root / name / f"{number}.png")


def filled(*steps: Callable[[Path], object]) -> Callable[[Path], None]:
    """One step after the other."""

    def fill(root: Path) -> None:
        for step in steps:
            step(root)

    return fill


def pictures(*folders: str) -> Callable[[Path], None]:
    """Pictures in these folders."""
    return lambda root: classes(root, *folders)


def two_and(*steps: Callable[[Path], object]) -> Callable[[Path], None]:
    """Two classes, and something in the first."""
    return filled(pictures("a", "b"), lambda root: filled(*steps)(root / "a"))


def renamed(name: str | bytes) -> Callable[[Path], None]:
    """Gives one of the pictures another name."""
    return lambda folder: os.rename(folder / "0.png", os.path.join(os.fsencode(folder), os.fsencode(name)))


def text(name: str) -> Callable[[Path], object]:
    """A file that is no image."""
    return lambda folder: (folder / name).write_text("x")


def bound_socket(folder: Path) -> None:
    """A socket called s.png; its path may be too long for one, so it is bound from within."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("s.png")
    finally:
        os.chdir(before)


def links_round(folder: Path) -> None:
    """Links to itself, upwards, to another class, to nothing, and to the link itself."""
    for name, target in {"self": ".", "up": "..", "root": "/", "other": "../b"}.items():
        (folder / name).symlink_to(target)
    (folder / "dead.png").symlink_to("gone.png")
    (folder / "loop.png").symlink_to("loop.png")


TWO = {"a": 3, "b": 3}
NAMES: dict[str, str | bytes] = {
    "spaces": " two  spaces .png",
    "quotes": 'it\'s "quoted".png',
    "newline": "two\nlines.png",
    "tab and escape": "a\tb\x1b[31m.png",
    "umlauts": "größe.png",
    "umlauts taken apart": "gro\u0308ße.png",
    "emoji": "🦆.png",
    "right to left": "חתול.png",
    "comma": "a,b;c.png",
    "percent": "100%20.png",
    "wildcards": "a[0]*?.png",
    "dash": "-rf.png",
    "dots": "a..b...png",
    "capitals": "IMAGE.PNG",
    "no Unicode": b"\xff\xfe.png",
    "255 bytes": "x" * 251 + ".png",
    "backslash": "a\\b.png",
}
CLASS_NAMES = (" b ", "b\nc", "größe", "🦆", "-b", "b,c", "'b'", "1", "None", "b" * 200, "{b}", "b..", "b:c", "~")


def many(root: Path, count: int) -> None:
    """Many pictures, as links to one."""
    classes(root, "a", "b", count=1)
    for name in ("a", "b"):
        for number in range(1, count):
            os.link(root / name / "0.png", root / name / f"{number}.png")


ODD: dict[str, Tree] = {
    **{f"file name: {kind}": Tree(two_and(renamed(name)), Holds(TWO)) for kind, name in NAMES.items()},
    **{f"class name: {name!r}": Tree(pictures("a", name), Holds({"a": 3, name: 3})) for name in CLASS_NAMES},
    "hidden files and folders": Tree(
        filled(pictures("a", "b", ".git", "a/.thumbnails"), lambda root: image(root / "a" / "._0.png")), Holds(TWO)
    ),
    "files of the system": Tree(
        two_and(text("Thumbs.db"), text("desktop.ini")), Holds(TWO, ("2 files are no images and are ignored",))
    ),
    "files beside the classes": Tree(
        filled(pictures("a", "b"), lambda root: image(root / "0.png")),
        Holds(TWO, ("1 image beside the class folders is left out: 0.png",)),
    ),
    "folders in a class": Tree(pictures("a", "b", "a/c/d", "a/c"), Holds({"a": 9, "b": 3})),
    "folder called like an image": Tree(pictures("a", "b", "a/c.png"), Holds({"a": 6, "b": 3})),
    "100 folders deep": Tree(pictures("a", "b" + "/b" * 100), Holds(TWO)),
    "links in circles": Tree(two_and(links_round), Holds(TWO, ("2 dead link(s) are ignored: a/dead.png, a/loop.png",))),
    "link for a class": Tree(filled(pictures("a", ".b"), lambda root: (root / "b").symlink_to(".b")), Holds(TWO)),
    "link for an image": Tree(two_and(lambda folder: (folder / "x.png").symlink_to("0.png")), Holds({"a": 4, "b": 3})),
    "pipe": Tree(two_and(lambda folder: os.mkfifo(folder / "p.png")), Holds(TWO, ("1 special file(s) are ignored",))),
    "socket": Tree(two_and(bound_socket), Holds(TWO, ("1 special file(s) are ignored: a/s.png",))),
    "device": Tree(
        two_and(lambda folder: (folder / "zero.png").symlink_to("/dev/zero")), Holds(TWO, ("1 special file(s)",))
    ),
    "empty class": Tree(filled(pictures("a", "b"), lambda root: (root / "c").mkdir()), Refused("c: no images")),
    "class without images": Tree(
        filled(pictures("a", "b"), lambda root: (root / "c").mkdir(), text("c/x.heic")),
        Refused("c: no images in this class folder (only x.heic)"),
    ),
    "one class": Tree(pictures("a"), Refused("only one class (a)")),
    "no class": Tree(lambda root: image(root / "0.png"), Refused("no class folders")),
    "nothing": Tree(filled(), Refused("no class folders")),
    "classes that differ in case": Tree(
        pictures("cat", "Cat"), Holds({"Cat": 3, "cat": 3}, ("differ in case alone", "Cat and cat"))
    ),
    "three splits": Tree(
        pictures("train/a", "train/b", "valid/a", "valid/b", "test/a", "test/b"),
        Holds({"a": 9, "b": 9}, splits=("train", "val", "test")),
    ),
    "splits in capitals": Tree(
        pictures("Train/a", "Train/b", "VAL/a", "VAL/b"),
        Holds({"a": 6, "b": 6}, ("no test folder",), splits=("train", "val")),
    ),
    "no val": Tree(pictures("train/a", "train/b"), Holds(TWO, ("no val folder", "no test folder"))),
    "no train": Tree(pictures("val/a", "val/b", "test/a", "test/b"), Refused("no train folder")),
    "val twice": Tree(pictures("train/a", "train/b", "val/a", "validation/a"), Refused("val and validation")),
    "a folder more": Tree(
        pictures("train/a", "train/b", "val/a", "val/b", "more/a"),
        Holds({"a": 6, "b": 6}, ("folders beside train are ignored: more",), splits=("train", "val")),
    ),
    "class in val alone": Tree(pictures("train/a", "train/b", "val/c"), Refused("c: this class is not in the train")),
    "class spelt otherwise in val": Tree(
        pictures("train/cats", "train/dogs", "val/Cats"), Refused("Did you mean cats?")
    ),
    "class in train alone": Tree(
        pictures("train/a", "train/b", "val/a"),
        Holds({"a": 6, "b": 3}, ("val: no images of 1 of the classes (b)",), splits=("train", "val")),
    ),
    "file for a split folder": Tree(
        filled(pictures("val/a", "val/b"), lambda root: image(root / "train")), Refused("no train folder")
    ),
    "2,000 files": Tree(lambda root: many(root, 1000), Holds({"a": 1000, "b": 1000})),
}
