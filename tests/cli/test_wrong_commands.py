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
    "table not said": (["dataset=manifest"], ["dataset.path", "CSV, TSV or Parquet"]),
    "missing table": (
        ["dataset=manifest", "dataset.path=lists/al.csv"],
        ["dataset.path=lists/al.csv", "lists/all.csv"],
    ),
    "folder for a table": (["dataset=manifest", "dataset.path=lists"], ["dataset.path=lists", "found a folder"]),
    "table for a folder": (["dataset=folder", "dataset.path=lists/all.csv"], ["dataset.path", "found a file"]),
    "wrong column": (
        ["dataset=manifest", "dataset.path=lists/all.csv", "dataset.label_column=kinds"],
        ["dataset.label_column=kinds", "Did you mean kind?"],
    ),
    "no such column": (
        ["dataset=manifest", "dataset.path=lists/all.csv"],
        ["dataset.label_column=label", "path, kind"],
    ),
    "column of another data set": (["dataset=folder", "dataset.label_column=x"], ["dataset.label_column"]),
    "table of missing images": (
        ["dataset=manifest", "dataset.path=lists/gone.csv"],
        ["lists/gone.csv: no such image file", "line 2: nowhere.png"],
    ),
    "shards not said": (["dataset=webdataset"], ["dataset.path", ".tar"]),
    "pattern without shards": (
        ["dataset=webdataset", "dataset.path='lists/*.tar'"],
        ["lists/*.tar", "nothing matches"],
    ),
    "folder without shards": (["dataset=webdataset", "dataset.path=lists"], ["dataset.path=lists", "no .tar"]),
    "hub and path": (["dataset=hf", "dataset.path=lists", "dataset.hub=some/set"], ["dataset.path, dataset.hub"]),
    "neither hub nor path": (["dataset=hf"], ["dataset.path, dataset.hub"]),
    "training without labels": (
        ["dataset=folder", "dataset.path=here", "dataset.labels=none"],
        ["dataset.labels=none", "strategy=finetune"],
    ),
    "mistyped labels": (["dataset=folder", "dataset.path=here", "dataset.labels=non"], ["dataset.labels=non", "none"]),
    "mistyped sampler": (["dataset.sampler=balance"], ["dataset.sampler=balance", "balanced"]),
    "class weights that nothing reads": (
        ["strategy=extract", "dataset.class_weights=inverse"],
        ["dataset.class_weights=inverse", "strategy=finetune"],
    ),
    "draws that nothing makes": (
        ["strategy=extract", "strategy.solver=lbfgs", "dataset.sampler=balanced"],
        ["dataset.sampler=balanced", "strategy.solver=optimizer"],
    ),
    "rare classes counted twice": (
        ["dataset.sampler=balanced", "dataset.class_weights=inverse"],
        ["dataset.sampler=balanced", "dataset.class_weights=inverse"],
    ),
    "pattern of nothing": ([*TINY, "strategy.unfreeze=[layr4]"], ["strategy.unfreeze: layr4", "layer4"]),
    "more stages than there are": ([*TINY, "strategy.unfreeze=9"], ["strategy.unfreeze=9", "5 stages", "layer4"]),
    "no stage": ([*TINY, "strategy.unfreeze=0"], ["strategy.unfreeze=0", "1 or more"]),
    "rate of nothing": ([*TINY, "strategy.lr_rules=[[layer9,0.1]]"], ["strategy.lr_rules: layer9"]),
    "rate of what is frozen": (
        [*TINY, "strategy.unfreeze=head", "strategy.lr_rules=[[layer4,0.1]]"],
        ["strategy.lr_rules: layer4", "frozen"],
    ),
    "rate that an earlier one hides": (
        [*TINY, "strategy.lr_rules=[[layer4,0.1],[layer4.0,0.2]]"],
        ["strategy.lr_rules: layer4.0", "put it first"],
    ),
    "nothing to thaw": (["strategy.unfreeze=head", "strategy.gradual=1"], ["strategy.gradual=1", "unfreeze=head"]),
    "layers that learn faster below": (["strategy.layer_decay=1.5"], ["strategy.layer_decay=1.5"]),
    "depth of a model without": (
        [*TINY, "model.name=squeezenet1_1", "model.source=torchvision", "strategy.drop_path=0.1"],
        ["strategy.drop_path=0.1", "squeezenet1_1"],
    ),
    "mixing stored features": (["strategy=extract", "augment.mixup=0.2"], ["augment.mixup", "strategy=finetune"]),
    "patience with stored features": (["strategy=extract", "trainer.patience=3"], ["trainer.patience=3"]),
    "rare classes adjusted twice": (
        ["strategy.logit_adjustment=1", "dataset.class_weights=inverse"],
        ["strategy.logit_adjustment=1", "dataset.class_weights=inverse"],
    ),
    "rank of nothing": (["strategy.adapter=lora", "strategy.adapter_rank=0"], ["strategy.adapter_rank=0", "1 or more"]),
    "rank too high": ([*TINY, "strategy.adapter=lora", "strategy.adapter_rank=999"], ["strategy.adapter", "rank"]),
    "nothing to adapt": (["strategy.adapter=lora", "strategy.unfreeze=head"], ["strategy.adapter=lora"]),
    "distance of what never moves": (
        ["strategy.adapter=lora", "strategy.l2sp.alpha=1"],
        ["strategy.l2sp.alpha=1", "strategy.adapter=lora"],
    ),
    "features that never change": (["strategy.unfreeze=head", "strategy.bss.weight=1"], ["strategy.bss"]),
    "mistyped stage": (
        [*TINY, "strategy.delta.weight=1", "strategy.delta.stages=[layr4]"],
        ["strategy.delta.stages=layr4", "layer4"],
    ),
    "frozen stage compared": (
        [*TINY, "strategy.unfreeze=1", "strategy.delta.weight=1", "strategy.delta.stages=[layer2]"],
        ["strategy.delta.stages=layer2", "frozen"],
    ),
    "penalty below zero": (["strategy.l2sp.beta=-1"], ["strategy.l2sp.beta=-1"]),
    "rates the wrong way round": (["mode=find_lr", "find_lr.lowest=2"], ["find_lr.lowest=2.0", "find_lr.highest"]),
    "rates of stored features": (["mode=find_lr", "strategy=extract"], ["mode=find_lr", "strategy.grid.lr"]),
    "steps of stored features": (["strategy=extract", "trainer.steps=9"], ["trainer.steps=9", "trainer.epochs"]),
    "mistyped rule": (["trainer.steps=bitt"], ["trainer.steps=bitt", "bit"]),
    "mistyped loss": (["strategy.loss=focel"], ["strategy.loss=focel", "focal"]),
    "average of nothing": (["strategy.ema=1"], ["strategy.ema=1"]),
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
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.csv").write_text("path,kind\n../one/a/0.png,x\n../one/a/1.png,y\n")
    (tmp_path / "lists" / "gone.csv").write_text("path,label\nnowhere.png,x\n../one/a/1.png,y\n")
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
