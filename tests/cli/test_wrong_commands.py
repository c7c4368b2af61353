"""Wrong commands: one message that names the key and the nearest valid choice, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import TINY, Ended

# What is typed, and words that the message must hold.
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "mistyped group": (["modle=resnet50"], ["modle", "model"]),
    "mistyped option": (["model=resnet5"], ["model=resnet5", "resnet50"]),
    "mistyped key": (["trainer.epoch=3"], ["trainer.epoch", "trainer.epochs"]),
    "key without its group": (["epochs=3"], ["epochs", "trainer.epochs"]),
    "key of another option": (["optimizer=sgd", "optimizer.betas=[0.9,0.99]"], ["optimizer.betas"]),
    "mistyped value": (["trainer.precision=fp23"], ["trainer.precision=fp23", "fp32"]),
    "number out of range": (["dataset.val_fraction=1.5"], ["dataset.val_fraction=1.5", "from 0 to 0.9"]),
    "negative rate": (["optimizer.lr=-1"], ["optimizer.lr=-1", "more than 0"]),
    "wrong type": (["trainer.epochs=many"], ["trainer.epochs=many", "a whole number"]),
    "fraction for a count": (["trainer.batch_size=1.5"], ["trainer.batch_size=1.5"]),
    "several wrong at once": (["seed=-1", "optimizer.lr=x", "mode=tarin"], ["seed=-1", "optimizer.lr=x", "train"]),
    "no value": (["model=timm"], ["model.name"]),
    "not an override": (["finetune"], ["finetune", "strategy=finetune"]),
    "unknown flag": (["--multirn"], ["--multirn", "--multirun"]),
    "sweep without -m": (["seed=0,1"], ["seed=0,1", "-m"]),
    "missing folder": (["dataset=folder", "dataset.path=here/photo"], ["dataset.path", "here/photos"]),
    "folder not said": (["dataset=folder"], ["dataset.path"]),
    "path for digits": (["dataset.path=here"], ["dataset.path", "digits"]),
    "one class": (["dataset=folder", "dataset.path=one"], ["one", "class"]),
    "empty class": (["dataset=folder", "dataset.path=hollow"], ["hollow", "b"]),
    "taken name": (["name=taken"], ["name=taken", "resume=auto"]),
    "name with a path": (["name=../escape"], ["name=../escape"]),
    "unknown model": ([*TINY, "model.name=resnet_50"], ["model.name=resnet_50", "resnet50"]),
    "unknown data set": (["dataset.name=digit"], ["dataset.name", "digits"]),
    "missing weights file": (["model.weights=here/weights.pt"], ["model.weights", "here/weights.pth"]),
    "weights that are no weights": ([*TINY, "model.weights=here/weights.pth"], ["weights.pth"]),
    "unknown weights": (
        [*TINY, "model.name=resnet18", "model.source=torchvision", "model.weights=IMAGENET1K_V7"],
        ["IMAGENET1K_V1"],
    ),
    "absent device": ([*TINY, "trainer.device=cuda:93"], ["trainer.device=cuda:93", "cpu"]),
    "mistyped device": (["trainer.device=gpu"], ["trainer.device=gpu", "cpu"]),
    "impossible precision": (["trainer.device=cpu", "trainer.precision=fp16"], ["trainer.precision=fp16", "bf16"]),
    "nothing left to train on": (["dataset.val_fraction=0.6", "dataset.test_fraction=0.5"], ["dataset.val_fraction"]),
    "evaluate without a run": (["mode=evaluate"], ["run"]),
    "evaluate nothing": (["mode=evaluate", "run=here"], ["run=here"]),
    "predict without input": (["mode=predict", "run=here"], ["input"]),
    "run of a training": (["run=here"], ["run=here", "resume"]),
    "resume without a name": (["resume=auto"], ["resume=auto", "name"]),
    "resume nothing": (["resume=here"], ["resume=here"]),
    "bad value in a sweep": (["-m", "optimizer.lr=1e-3,fast"], ["optimizer.lr=fast"]),
    "bad option in a sweep": (["-m", "optimizer=sgd,adamm"], ["optimizer=adamm", "adamw"]),
    "sweep over names": (["-m", "name=a,b"], ["name"]),
    "missing config folder": (["--config-dir", "nowhere"], ["--config-dir", "nowhere"]),
    "unquoted value": (["name=a{b"], ["name=a{b"]),
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
    (tmp_path / "outputs" / "runs" / "taken").mkdir(parents=True)
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


def test_all_wrong_keys_are_told_at_once(command: Callable[..., Ended]) -> None:
    ended = command("optimzer.lr=1", "trainer.epoch=2", "datset=digits")
    assert all(word in ended.err for word in ("optimizer.lr", "trainer.epochs", "dataset"))
