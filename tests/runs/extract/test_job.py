"""strategy=extract, as a user runs it: what is cached changes nothing but the time, and nothing stale is ever used."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, Ended, summary
from transfer_cli.models import backbones
from transfer_cli.records import wilson

Command = Callable[..., Ended]
EXTRACT = [*TINY, "strategy=extract", "image_size=64", "augment=none", "quiet=true"]
FILES = ("model.safetensors", "metrics.jsonl", "predictions.csv")


def train(command: Command, name: str, *words: str) -> Path:
    ended = command(*EXTRACT, f"name={name}", *words)
    assert ended.code == 0, ended.err
    return Path("outputs/runs") / name


def same(one: Path, other: Path) -> bool:
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in FILES)


@pytest.mark.parametrize("words", [[], ["augment=light", "augment.views=2"]], ids=["plain", "views"])
def test_the_cache_changes_nothing(command: Command, words: list[str]) -> None:
    cold, warm = train(command, "cold", *words), train(command, "warm", *words)
    live = train(command, "live", "strategy.cache=false", *words)
    assert same(cold, warm)
    assert same(cold, live)
    assert summary(cold)["backbone_images"] == (102 if words else 60)
    assert summary(warm)["backbone_images"] == 0
    assert summary(live)["backbone_images"] > 2 * 60


def test_a_head_that_is_trained_does_not_promise_to_go_on(command: Command) -> None:
    ended = command(*EXTRACT, "quiet=false", "strategy.solver=optimizer", "name=head")
    assert ended.code == 0, ended.err
    assert "plan      2 epochs of 3 steps of 16 images\nresults   outputs/runs/head\n" in ended.out


def test_a_warm_run_never_builds_the_backbone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = train(command, "cold")
    monkeypatch.setattr(backbones, "build", lambda *args, **kwargs: pytest.fail("the backbone was built"))
    assert same(cold, train(command, "warm"))


def test_the_backbone_stays_byte_equal_and_the_head_trains(command: Command) -> None:
    assert command(*TINY, "name=start", "trainer.epochs=1", "image_size=64").code == 0
    start = load_file("outputs/runs/start/model.safetensors")
    probe = load_file(train(command, "probe", "model.weights=outputs/runs/start") / "model.safetensors")
    assert start.keys() == probe.keys()
    assert all(start[name].equal(probe[name]) for name in start if not name.startswith("fc."))
    assert not start["fc.weight"].equal(probe["fc.weight"])
    counts = summary("outputs/runs/probe")["parameters"]
    assert counts == {"total": 372_979, "trainable": 96 * 3 + 3}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["strategy.head=mlp", "strategy.hidden=16"],
        ["strategy.solver=lbfgs"],
        ["strategy.solver=ridge"],
        ["strategy.solver=ncm"],
        ["strategy.solver=knn", "strategy.neighbours=[1,5]"],
        ["strategy.pooling=average", "strategy.stages=[layer3,layer4]"],
        ["strategy.standardize=false"],
    ],
    ids=lambda words: " ".join(words) or "linear",
)
def test_the_exported_model_scores_what_the_run_scored(command: Command, words: list[str]) -> None:
    run = train(command, "run", *words)
    ended = command("mode=evaluate", f"run={run}", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    report = json.loads((run / "evaluation.json").read_text())
    test = summary(run)["test"]
    assert {key: report[key] for key in test} == test
    by_epochs = yaml.safe_load((run / "config.yaml").read_text())["strategy"]["solver"] == "optimizer"
    assert summary(run)["epochs"] == (2 if by_epochs else None)


def test_the_best_head_of_a_grid_is_the_head_trained_alone(command: Command) -> None:
    grid = train(command, "grid", "strategy.grid.lr=[1e-4,1e-2]", "strategy.grid.weight_decay=[0,0.1]")
    with (grid / "grid.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    (best,) = [row for row in rows if row["chosen"] == "True"]
    alone = train(
        command,
        "alone",
        "strategy.solver=optimizer",
        f"optimizer.lr={best['lr']}",
        f"optimizer.weight_decay={best['weight_decay']}",
    )
    assert (grid / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
    assert (grid / "plots" / "grid.png").exists()


def test_among_penalties_that_differ_by_chance_the_loss_decides(command: Command) -> None:
    """Noise, and twelve images of it to validate on."""
    rng = np.random.default_rng(0)
    for number in range(80):
        path = Path("noise", "ab"[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    plain = [word for word in EXTRACT if not word.startswith("dataset")]
    run = Path("outputs/runs/run")
    words = ["strategy.solver=lbfgs", "dataset=folder", "dataset.path=noise", "name=run"]
    assert command(*plain, *words).code == 0
    with (run / "grid.csv").open() as file:
        found = [*csv.DictReader(file)]
    rows = [(float(row["val_accuracy"]), float(row["val_loss"]), row["chosen"] == "True") for row in found]
    images = json.loads((run / "dataset.json").read_text())["images"]["val"]
    best = max(accuracy for accuracy, _, _ in rows)
    alike = [loss for accuracy, loss, _ in rows if accuracy >= wilson.interval(best, images)[0]]
    ((accuracy, loss),) = [row[:2] for row in rows if row[2]]
    assert loss == min(alike)
    assert accuracy < best, "or this shows nothing"


@pytest.fixture
def photos() -> Path:
    """A small folder of images, two classes, to be changed by the tests."""
    for number in range(24):
        shade = 40 + 8 * number
        path = Path("photos") / ("dark" if number % 2 else "light") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 70), (shade, 255 - shade, (shade * 7) % 255)).save(path)
    return Path("photos")


CHANGES: dict[str, list[str]] = {
    "size": ["image_size=96"],
    "precision": ["trainer.precision=bf16"],
    "features": ["strategy.pooling=average"],
    "model": ["model.name=test_efficientnet"],
    "view": ["augment=light", "augment.views=1"],
    "seed of random weights": ["seed=1"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_setting_never_hits_an_old_entry(command: Command, photos: Path, change: str) -> None:
    words = ["dataset=folder", "dataset.path=photos", "~dataset.num_classes", "~dataset.samples"]
    words = [*[w for w in EXTRACT if not w.startswith("dataset")], *words[:2]]
    assert command(*words, "name=before").code == 0
    assert command(*words, "name=after", *CHANGES[change]).code == 0
    assert summary("outputs/runs/after")["backbone_images"] > 0


def test_changed_weights_or_images_never_hit_an_old_entry(command: Command, photos: Path) -> None:
    network = backbones.build("test_resnet", "timm", 2, 64)
    save_file({name: tensor.contiguous() for name, tensor in network.module.state_dict().items()}, "own.safetensors")
    words = [w for w in EXTRACT if not w.startswith(("dataset", "model.weights"))]
    words = [*words, "dataset=folder", "dataset.path=photos", "model.weights=own.safetensors"]

    def images(name: str) -> int:
        ended = command(*words, f"name={name}")
        assert ended.code == 0, ended.err
        return int(summary(f"outputs/runs/{name}")["backbone_images"])

    assert images("first") == 24
    assert images("again") == 0
    shutil.move("photos", "moved")
    shutil.move("moved", "photos")
    assert images("moved") == 0
    Image.new("RGB", (80, 70), (1, 2, 3)).save(photos / "dark" / "01.png")
    assert images("repainted") > 0
    with torch.no_grad():
        next(iter(network.parameters())).add_(1.0)
    save_file({name: tensor.contiguous() for name, tensor in network.module.state_dict().items()}, "own.safetensors")
    assert images("retrained") == 24


def test_without_labels_there_are_features_and_groups(command: Command, photos: Path) -> None:
    words = [w for w in EXTRACT if not w.startswith("dataset")]
    ended = command(
        *words, "dataset=folder", "dataset.path=photos", "dataset.labels=none", "strategy.groups=3", "name=f"
    )
    assert ended.code == 0, ended.err
    run = Path("outputs/runs/f")
    assert load_file(run / "features.safetensors")["features"].shape == (24, 96)
    with (run / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(24))
    assert {row["group"] for row in rows} == {"0", "1", "2"}
    sizes = [sum(row["group"] == str(group) for row in rows) for group in range(3)]
    assert sizes == sorted(sizes, reverse=True)
    assert (run / "plots" / "groups.png").exists()
    assert summary(run)["status"] == "completed"


def test_rank_orders_backbones_by_their_scores(command: Command) -> None:
    words = [w for w in EXTRACT if not w.startswith(("strategy", "model.name", "quiet"))]
    ended = command("mode=rank", "rank.models=[test_resnet,test_efficientnet]", *words, "name=two")
    assert ended.code == 0, ended.err
    with open("outputs/ranks/two/rank.csv") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["log_me"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert {row["model"] for row in rows} == {"test_resnet", "test_efficientnet"}
    assert all(float(row["probe_accuracy"]) > 0.5 for row in rows)
    assert Path("outputs/ranks/two/rank.png").exists()


def test_one_backbone_that_cannot_be_had_does_not_end_the_others(command: Command) -> None:
    words = [w for w in EXTRACT if not w.startswith(("strategy", "model", "quiet"))]
    ended = command("mode=rank", "rank.models=[efficientnet_lite0,resnet18]", *words, "name=two")
    assert ended.code == 3
    with open("outputs/ranks/two/rank.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["model"] == "efficientnet_lite0"
    assert "cannot be fetched" in rows[1]["error"]


def test_keys_that_a_head_on_features_does_not_read_are_said(command: Command) -> None:
    ended = command(*TINY, "strategy=extract", "trainer.evaluate_every=2", "trainer.keep=1", "name=said")
    assert ended.code == 0
    for key in ("trainer.evaluate_every: no effect", "trainer.checkpoint_every, trainer.keep: no effect"):
        assert key in ended.out
