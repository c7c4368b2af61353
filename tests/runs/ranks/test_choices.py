"""Every way to train on two ranks: where images do not meet in a loss, the run that one process makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import TINY, summary
from tests.gloo import on_ranks
from tests.runs.test_ranks import furthest, log, run

pytestmark = pytest.mark.usefixtures("_one_thread")

# LayerNorm, so that no image depends on the others of its batch; plain steps, so that rounding stays rounding.
VIT = [*TINY, "model.name=test_vit", "optimizer=sgd", "optimizer.lr=0.01", "augment.views=2", "tune=off"]
HEAD = "strategy.unfreeze=head"
FINETUNE: dict[str, list[str]] = {
    "head": [HEAD],
    "cached prefix": ["strategy.unfreeze=1", "strategy.cache=true"],
    "live prefix": ["strategy.unfreeze=1", "strategy.cache=false"],
    "patterns": ["strategy.unfreeze=['*.bias']"],
    "thawing": ["strategy.gradual=1", "trainer.epochs=3"],
    "lora": ["strategy.adapter=lora", "strategy.adapter_rank=2"],
    "linear": ["strategy.adapter=linear"],
    "bitfit": ["strategy.adapter=bitfit"],
    "head_first": ["strategy.head_first=2"],
    "probe": ["strategy.head_init=probe"],
    "keep_probe": ["strategy.keep_probe=true", "strategy.head_init=zero"],
    "rates": ["strategy.layer_decay=0.5", "strategy.head_lr=2"],
    "focal": ["strategy.loss=focal"],
    "l2sp": ["strategy.l2sp.alpha=0.1", "strategy.l2sp.beta=0.1"],
    "delta": ["strategy.delta.weight=0.1"],
    "logit_adjustment": ["strategy.logit_adjustment=1"],
    "class_weights": ["dataset.class_weights=inverse"],
    "balanced": ["dataset.sampler=balanced"],
    "ema": ["strategy.ema=0.9"],
    "sam": ["strategy.sam=0.05"],
    "clip": ["trainer.clip_grad=0.5", "trainer.accumulate=2"],
    "mixing": ["augment.mixup=0.3", "augment.cutmix=1"],
    "frozen statistics": ["model.name=test_resnet", "strategy.batch_norm=frozen"],
}
DISTILL: dict[str, list[str]] = {
    "kd": [],
    "live": ["augment.views=null"],
    "dkd": ["strategy.loss.dkd=1", "strategy.loss.kd=0"],
    "standardized": ["strategy.standardize_logits=true"],
    "top_k": ["strategy.teacher.top_k=2"],
    "hint": ["strategy.loss.hint=1"],
    "generations": ["strategy.generations=2"],
}
OF_BATCHES: dict[str, list[str]] = {
    "bss": ["strategy=finetune", "strategy.bss.weight=0.1"],
    "drop_path": ["strategy=finetune", "strategy.drop_path=0.2"],
    "dist": ["strategy.loss.dist=1", "optimizer=adamw", "optimizer.lr=0.001"],
    "rkd": ["strategy.loss.rkd=1"],
    "crd": ["strategy.loss.crd=1", "strategy.negatives=8"],
    "attention": ["model.name=test_resnet", "strategy.loss.attention=1"],
}
"""What compares images of a batch with each other, or draws numbers, or normalises: another run, as good."""
FAST = ("thawing",)


@pytest.fixture
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cases(*tables: dict[str, list[str]]) -> list[Any]:
    return [
        pytest.param(words, id=name, marks=[] if name in FAST else pytest.mark.slow)
        for table in tables
        for name, words in table.items()
    ]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs to start from, and to learn from: of other classes, and of the same."""
    folder = tmp_path_factory.mktemp("begun")
    for model in ("test_vit", "test_resnet"):
        for classes in (3, 4):
            words = [*VIT, f"model.name={model}", f"dataset.num_classes={classes}", f"name={model}{classes}"]
            assert on_ranks(1, run, str(folder), words)[0] == "completed"
    return folder / "outputs/runs"


def both(tmp_path: Path, words: list[str]) -> None:
    for size in (1, 2):
        given = [*VIT, *words, f"name=of{size}", f"cache_dir={tmp_path}/cache{size}"]
        assert on_ranks(size, run, str(tmp_path), given)[0] == "completed"
    assert summary("outputs/runs/of2")["ranks"] == 2


def started(begun: Path, words: list[str]) -> list[str]:
    """From weights with a head for other classes."""
    models = [word.partition("=")[2] for word in words if word.startswith("model.name=")]
    return [f"model.weights={begun}/{(models or ['test_vit'])[-1]}4", *words]


def taught(begun: Path, words: list[str]) -> list[str]:
    models = [word.partition("=")[2] for word in words if word.startswith("model.name=")]
    teacher = f"strategy.teacher.weights={begun}/{(models or ['test_vit'])[-1]}3"
    return ["strategy=distill", teacher, "strategy.teacher.allow_chance=true", *words]


def check_alike() -> None:
    assert furthest("of1", "of2") < 1e-5
    for ours, theirs in zip(log("of1"), log("of2"), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-5) and ours["split"] == theirs["split"]


@pytest.mark.parametrize("words", cases(FINETUNE))
def test_finetuning_is_that_of_one_process(words: list[str], begun: Path, tmp_path: Path) -> None:
    both(tmp_path, started(begun, words))
    check_alike()


@pytest.mark.parametrize("words", cases(DISTILL))
def test_distilling_is_that_of_one_process(words: list[str], begun: Path, tmp_path: Path) -> None:
    both(tmp_path, taught(begun, words))
    check_alike()


@pytest.mark.parametrize("words", cases(OF_BATCHES))
def test_what_brings_images_together_trains_as_well(words: list[str], begun: Path, tmp_path: Path) -> None:
    both(tmp_path, started(begun, words) if "strategy=finetune" in words else taught(begun, words))
    assert summary("outputs/runs/of2")["val"]["loss"] < 1.3
