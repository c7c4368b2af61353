"""Wrong commands: one message that names the key and the nearest valid choice, exit code 2, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.cli.wrong_commands import WRONG
from tests.conftest import Ended
from transfer_cli.models.heads import HeadSpec

TEACHER = {
    "model": {"name": "test_resnet", "source": "timm"},
    "classes": ["class_0", "cat", "dog"],
    "preprocessing": {
        "crop_pixels": 32,
        "resize_pixels": 36,
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
    "precision": "fp32",
    "head": HeadSpec(width=64).to_dict(),
}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with some of what a user may point at by mistake."""
    image(tmp_path / "here" / "photos" / "a" / "1.png")
    (tmp_path / "here" / "weights.pth").write_bytes(b"not weights")
    for number in range(3):
        image(tmp_path / "one" / "a" / f"{number}.png")
        image(tmp_path / "hollow" / "a" / f"{number}.png")
    (tmp_path / "hollow" / "b").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.csv").write_text("path,kind\n../one/a/0.png,x\n../one/a/1.png,y\n")
    (tmp_path / "lists" / "gone.csv").write_text("path,label\nnowhere.png,x\n../one/a/1.png,y\n")
    (tmp_path / "outputs" / "runs" / "taken").mkdir(parents=True)
    save_file({"conv1.0.weight": np.zeros((16, 1, 3, 3), np.float32)}, tmp_path / "here" / "grey.safetensors")
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "model.json").write_text(json.dumps(TEACHER))
    (tmp_path / "teacher" / "model.safetensors").write_bytes(b"never read")
    return tmp_path


@pytest.mark.parametrize(("words", "told"), WRONG.values(), ids=WRONG.keys())
def test_wrong_command(command: Callable[..., Ended], files: Path, words: list[str], told: list[str]) -> None:
    before = tree(files)
    ended = command(*words)
    assert ended.code == 2, ended.err
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    for word in told:
        assert word in ended.err, ended.err
    assert tree(files) == before


def test_a_folder_that_is_gone(command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ended = command()
    assert (ended.code, ended.err) == (2, "error: the current folder is gone; change to one that exists.\n")


def test_all_wrong_keys_are_told_at_once(command: Callable[..., Ended]) -> None:
    ended = command("optimzer.lr=1", "trainer.epoch=2", "datset=digits")
    assert all(word in ended.err for word in ("optimizer.lr", "trainer.epochs", "dataset"))
