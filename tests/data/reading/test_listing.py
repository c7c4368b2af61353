"""What others call the splits is the same for folders, tables, archives and Hugging Face sets."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.loading import load
from transfer_cli.data.reading.listing import split_of
from transfer_cli.data.sources.hf import _named_splits

ALIASES = [
    ("train", "train"),
    ("training", "train"),
    ("val", "val"),
    ("valid", "val"),
    ("validation", "val"),
    ("dev", "val"),
    ("test", "test"),
    ("testing", "test"),
]


def folders(root: Path, names: dict[str, str], files: list[Path]) -> Path:
    for split, name in names.items():
        for label, file in zip("ab", files, strict=True):
            (root / name / label).mkdir(parents=True)
            (root / name / label / f"{split}.png").write_bytes(file.read_bytes())
    return root


def table(root: Path, names: dict[str, str], files: list[Path]) -> Path:
    rows = ["path,label,split"]
    for split, name in names.items():
        for label, file in zip("ab", files, strict=True):
            copy = root / f"{split}{label}.png"
            copy.write_bytes(file.read_bytes())
            rows.append(f"{copy.name},{label},{name}")
    (root / "list.csv").write_text("\n".join(rows))
    return root / "list.csv"


def archives(root: Path, names: dict[str, str], files: list[Path]) -> Path:
    for split, name in names.items():
        with tarfile.open(root / f"{name}-0.tar", "w") as tar:
            for label, file in zip("ab", files, strict=True):
                for ending, data in (("png", file.read_bytes()), ("cls", label.encode())):
                    info = tarfile.TarInfo(f"{split}{label}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return root


WRITERS = {"folder": folders, "manifest": table, "webdataset": archives}


@pytest.mark.parametrize(("alias", "split"), ALIASES)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_split_may_have_any_usual_name(
    tmp_path: Path, make_images: Callable[..., list[Path]], kind: str, alias: str, split: str
) -> None:
    files = make_images(tmp_path / "photos", 2)
    (tmp_path / "set").mkdir()
    names = {"train": "train", "val": "val", "test": "test"} | {split: alias.upper()}
    images = load(kind, WRITERS[kind](tmp_path / "set", names, files))
    for own, members in images.splits.items():
        assert [own in Path(images.ids[index]).name or kind == "folder" for index in members] == [True, True]
        assert len(members) == 2
    if kind == "folder":
        assert all(f"/{alias.upper()}/" in images.ids[index] for index in images.splits[split])


@pytest.mark.parametrize(("alias", "split"), ALIASES)
def test_parts_of_a_hugging_face_set_too(alias: str, split: str) -> None:
    others = {own: [1] for own in ("train", "test") if own != split}
    found, notes = _named_splits("set", {**others, alias: [3]})
    assert found[split] == [3]
    assert notes == []


def test_other_names_are_no_splits() -> None:
    assert split_of("extra") is None
    assert split_of("trainer") is None
