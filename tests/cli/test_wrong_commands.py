"""Wrong commands: one message that names the key and the nearest valid choice, exit code 2, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.conftest import TINY, Ended
from transfer_cli.models.heads import HeadSpec

TAUGHT = [*TINY, "strategy=distill"]

# What is typed, and words that the message must hold.
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "mistyped group": (["modle=resnet50"], ["modle", "model"]),
    "mistyped option": (["model=resnet5"], ["model=resnet5", "resnet50"]),
    "mistyped key": (["trainer.epoch=3"], ["trainer.epoch", "trainer.epochs"]),
    "key without its group": (["epochs=3"], ["epochs", "trainer.epochs"]),
    "key of another option": (["optimizer=sgd", "optimizer.betas=[0.9,0.99]"], ["optimizer.betas"]),
    "mistyped value": (["trainer.precision=fp23"], ["trainer.precision=fp23", "fp32"]),
    "number out of range": (["dataset.val_fraction=1.5"], ["dataset.val_fraction=1.5", "at most 0.9"]),
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
    "unlabelled images that nothing learns from": (
        ["dataset=folder", "dataset.path=here", "dataset.unlabelled=here"],
        ["dataset.unlabelled=here", "strategy=distill"],
    ),
    "unlabelled images beside images without labels": (
        [
            *("strategy=distill", "strategy.teacher.weights=resnet18.pt", "strategy.teacher.model=resnet18"),
            *("dataset=folder", "dataset.path=here", "dataset.unlabelled=here", "dataset.labels=none"),
        ],
        ["dataset.unlabelled", "dataset.labels=none"],
    ),
    "unlabelled images in balance": (
        [
            *("strategy=distill", "strategy.teacher.model=resnet18"),
            *("dataset=folder", "dataset.path=here", "dataset.unlabelled=here", "dataset.sampler=balanced"),
        ],
        ["dataset.sampler=balanced", "dataset.unlabelled"],
    ),
    "unlabelled images that are not there": (
        [
            *("strategy=distill", "strategy.teacher.model=resnet18"),
            *("dataset=folder", "dataset.path=here", "dataset.unlabelled=nowhere"),
        ],
        ["dataset.unlabelled=nowhere", "no such file or folder"],
    ),
    "unlabelled images beside a set in memory": (
        ["strategy=distill", "strategy.teacher.model=resnet18", "dataset=digits", "dataset.unlabelled=here"],
        ["dataset.unlabelled", "dataset=digits"],
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
    "no teacher": (["strategy=distill"], ["strategy.teacher", "strategy.teacher.weights=<run directory>"]),
    "missing teacher": (
        ["strategy=distill", "strategy.teacher.weights=here/photoz"],
        ["strategy.teacher.weights=here/photoz", "here/photos"],
    ),
    "teacher that is no run": (
        ["strategy=distill", "strategy.teacher.weights=here/photos"],
        ["strategy.teacher.weights=here/photos", "no finished run"],
    ),
    "teacher of other classes": (
        [*TAUGHT, "strategy.teacher.weights=teacher"],
        ["lacks 2 of the 3 classes", "class_1", "class_2"],
    ),
    "teacher of ImageNet": (
        ["strategy=distill", "strategy.teacher.model=efficientnet_lite0"],
        ["strategy.teacher", "ImageNet", "strategy.teacher.finetune=true"],
    ),
    "teacher of another model": (
        [*TAUGHT, "strategy.teacher.weights=teacher", "strategy.teacher.model=resnet18"],
        ["strategy.teacher.model=resnet18", "test_resnet"],
    ),
    "teacher of grey images": (
        [*TAUGHT, "strategy.teacher.model=test_resnet", "strategy.teacher.weights=here/grey.safetensors"],
        ["strategy.teacher.weights", "conv1.0.weight", "[16, 1, 3, 3]"],
    ),
    "unknown teacher": ([*TAUGHT, "strategy.teacher.model=resnet_50"], ["strategy.teacher.model=resnet_50"]),
    "more logits than classes": (
        [*TAUGHT, "strategy.teacher.model=test_resnet", "strategy.teacher.weights=none", "strategy.teacher.top_k=4"],
        ["strategy.teacher.top_k=4", "3 classes"],
    ),
    "unknown stage in pairs": (
        [
            *TAUGHT,
            *("strategy.teacher.model=test_resnet", "strategy.teacher.weights=none"),
            *("strategy.loss.hint=1", "strategy.pairs=[[layer2,layer7]]"),
        ],
        ["strategy.pairs: teacher stage=layer7", "layer1"],
    ),
    "pairs without a term": (
        [*TAUGHT, "strategy.teacher.weights=teacher", "strategy.pairs=[[layer2,layer2]]"],
        ["strategy.pairs", "strategy.loss.hint"],
    ),
    "teacher finetuned of no model": (
        [*TAUGHT, "strategy.teacher.weights=teacher", "strategy.teacher.finetune=true"],
        ["strategy.teacher.finetune=true", "strategy.teacher.model"],
    ),
    "mixed images for a teacher": (
        [*TAUGHT, "strategy.teacher.weights=teacher", "augment.mixup=0.2"],
        ["augment.mixup", "teacher"],
    ),
    "rule that mixes for a teacher": (
        [*TAUGHT, "strategy.teacher.weights=teacher", "trainer.steps=bit"],
        ["trainer.steps=bit"],
    ),
    "unknown term": ([*TAUGHT, "strategy.loss.kdd=1"], ["strategy.loss.kdd", "strategy.loss.kd"]),
    "unknown term, added": (
        [*TAUGHT, "strategy.teacher.weights=teacher", "+strategy.loss.kdd=1"],
        ["strategy.loss.kdd", "kd"],
    ),
    "no term": (
        [*TAUGHT, "strategy.teacher.weights=teacher", "strategy.loss.ce=0", "strategy.loss.kd=0"],
        ["strategy.loss", "dkd"],
    ),
    "labels that are not there": (
        [
            *("strategy=distill", "strategy.teacher.weights=teacher"),
            *("dataset=folder", "dataset.path=here", "dataset.labels=none"),
        ],
        ["strategy.loss.ce", "dataset.labels=none"],
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
    "unquoted value": (["name=a{b"], ["name=a{b", "'name=\"a{b\"'"]),
    "home folder unquoted": (["dataset=folder", "dataset.path=~/photos"], ["'dataset.path=\"~/photos\"'"]),
    "name with a NUL": (["name=a\0b"], ["name=a\\x00b"]),
    "nothing": ([""], ["key=value"]),
    "value without a key": (["=5"], ["no such key"]),
    "no option": (["model=null"], ["model=null", "resnet50"]),
    "two options": (["model=[resnet18,resnet50]"], ["model=[resnet18,resnet50]", "-m"]),
    "key of a list": (["optimizer.betas.x=1"], ["optimizer.betas.x", "optimizer.betas?"]),
    "key of another data set": (["dataset.samples=9"], ["dataset.samples", "dataset=fake"]),
    "plus on a key that is there": (["+seed=1"], ["+seed=1", "leave the + out"]),
    "plus on a group": (["+model=resnet50"], ["+model=resnet50", "say model=resnet50"]),
    "package of a group": (["model@x=resnet50"], ["model@x=resnet50", "say model=resnet50"]),
    "new key": (["++trainer.epoch=1"], ["trainer.epoch", "trainer.epochs"]),
    "deleted key": (["~seed"], ["seed: missing"]),
    "interpolation of nothing": (["seed=${sed}"], ["seed: ", "'sed' not found"]),
    "interpolation of itself": (["seed=${seed}"], ["seed: "]),
    "interpolation resolved by --cfg": (["--cfg", "job", "--resolve", "seed=${sed}"], ["seed: ", "'sed' not found"]),
    "huge number": (["trainer.batch_size=9999999999999999999999"], ["trainer.batch_size=9999", "a whole number"]),
    "negative zero": (["optimizer.lr=-0.0"], ["optimizer.lr=-0.0", "more than 0"]),
    "long name": (["name=" + "x" * 121], ["name=xxx", "120"]),
    "one image a step": ([*TINY, "trainer.batch_size=1"], ["trainer.batch_size=1", "trainer.batch_size=2"]),
    "file for the cache": (["cache_dir=here/weights.pth"], ["cache_dir=here/weights.pth", "folder"]),
    "file for the outputs": (["output_dir=here/weights.pth"], ["output_dir", "weights.pth"]),
    "data set not here": (["dataset=cifar10"], ["dataset.path=data", "dataset.download=true"]),
    "Hydra's run folder": (["hydra.run.dir=there"], ["hydra.run.dir=there", "output_dir"]),
    "Hydra's sweep folder": (["-m", "hydra.sweep.dir=there", "seed=0,1"], ["hydra.sweep.dir=there", "output_dir"]),
    "launcher not installed": (["-m", "hydra/launcher=rq", "seed=0,1"], ["hydra/launcher=rq", "hydra-rq-launcher"]),
    "mistyped launcher": (["-m", "hydra/launcher=basik", "seed=0,1"], ["hydra/launcher=basik", "basic"]),
    "launcher without a sweep": (["hydra/launcher=basic"], ["hydra/launcher=basic", "-m"]),
    "range without steps": (["-m", "optimizer.lr=interval(0,1)"], ["optimizer.lr=interval(0,1)"]),
    "dashes before a key": (["--model=resnet50"], ["--model=resnet50", "model=resnet50, not"]),
    "mistyped topic": (["--info", "confg"], ["--info", "config"]),
    "Hydra's config of a mistyped key": (["--cfg", "hydra", "modle=resnet50"], ["modle", "model"]),
}


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
