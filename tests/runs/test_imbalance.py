"""Classes of different size, from the command to the loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Ended, summary
from tests.data.loading import load
from tests.strategies.networks import finetune, tiny
from transfer_cli.data.batches import Batch
from transfer_cli.engine.objective import Objective
from transfer_cli.methods.losses import cross_entropy

QUICK = [word for word in TINY if not word.startswith(("dataset", "trainer.epochs"))] + ["trainer.epochs=1"]
TABLE = ["dataset=manifest", "dataset.path=skewed.csv"]


@pytest.fixture
def skewed(tmp_path: Path) -> Path:
    """66 images of one class, 6 of another."""
    images = load("fake", num_classes=2, samples=132)
    rows = ["path,label"]
    for index in range(132):
        if images.labels[index] == 0 or index < 12:
            images.read(index).save(tmp_path / f"{index}.png")
            rows.append(f"{index}.png,{images.classes[images.labels[index]]}")
    (tmp_path / "skewed.csv").write_text("\n".join(rows))
    return tmp_path


def test_skewed_classes_are_said_counted_and_recorded(command: Callable[..., Ended], skewed: Path) -> None:
    ended = command(*QUICK, *TABLE, "name=plain", "augment=none")
    assert ended.code == 0, ended.err
    assert "classes are skewed: 46 training images of class_0, 4 of class_1" in ended.out
    table = ended.out.split("images of each class")[1].splitlines()
    assert table[1].split() == ["class", "train", "val", "test"]
    assert table[3].split() == ["class_0", "46", "10", "10"]
    assert table[4].split() == ["class_1", "4", "1", "1"]
    recorded = json.loads(Path("outputs/runs/plain/dataset.json").read_text())
    assert recorded["images_of_class"]["train"] == {"class_0": 46, "class_1": 4}


def test_balanced_draws_and_weights_change_what_is_learnt(command: Callable[..., Ended], skewed: Path) -> None:
    options = ["dataset.sampler=uniform", "dataset.sampler=balanced", "dataset.class_weights=inverse"]
    losses = set()
    for number, option in enumerate(options):
        assert command(*QUICK, *TABLE, option, f"name=run{number}", "augment=none").code == 0
        losses.add(summary(f"outputs/runs/run{number}")["test"]["loss"])
    assert len(losses) == 3


def test_the_loss_weighs_classes() -> None:
    strategy = finetune(tiny(), objective=Objective(smoothing=0.1))
    batch = Batch(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 1, 2]), torch.arange(4))
    strategy.network.eval()
    plain = strategy(batch)
    strategy.objective = Objective(smoothing=0.1, class_weights=torch.tensor([2.0, 0.5, 1.0]))
    weighted = strategy(batch)
    assert torch.equal(plain.logits, weighted.logits)
    terms = cross_entropy(plain.logits, batch.labels, smoothing=0.1, class_weights=strategy.objective.class_weights)
    assert weighted.loss.item() == pytest.approx(terms.mean().item())
    assert weighted.loss.item() != pytest.approx(plain.loss.item())


def test_the_loss_weighs_samples() -> None:
    strategy = finetune(tiny())
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2])
    strategy.network.eval()
    alone = [strategy(Batch(images[i : i + 1], labels[i : i + 1], labels[i : i + 1])).loss.item() for i in range(3)]
    weighted = strategy(Batch(images, labels, labels, weights=torch.tensor([3.0, 0.0, 1.0]))).loss.item()
    assert weighted == pytest.approx((3 * alone[0] + alone[2]) / 3, rel=1e-5)


def test_weights_of_a_table_reach_the_training_with_and_without_the_cached_prefix(
    command: Callable[..., Ended], skewed: Path
) -> None:
    rows = Path("skewed.csv").read_text().splitlines()
    weights = ["weight", *(str(1 + index % 3) for index in range(len(rows) - 1))]
    Path("weighed.csv").write_text("\n".join(f"{row},{weight}" for row, weight in zip(rows, weights, strict=True)))
    losses = {}
    for table in ("skewed", "weighed"):
        for cache in ("false", "true"):
            words = [
                "dataset=manifest",
                f"dataset.path={table}.csv",
                "strategy.unfreeze=head",
                f"strategy.cache={cache}",
            ]
            ended = command(*QUICK, *words, f"name={table}_{cache}", "augment=none")
            assert ended.code == 0, ended.err
            losses[table, cache] = summary(f"outputs/runs/{table}_{cache}")["test"]["loss"]
    assert losses["weighed", "false"] == losses["weighed", "true"] != losses["skewed", "true"]
