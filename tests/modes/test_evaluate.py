"""mode=evaluate and mode=calibrate: how sure scores are, one model against another, and what corruptions do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.metrics import roc_auc_score

from tests.conftest import TINY, Ended, summary
from transfer_cli.cli import main

Command = Callable[..., Ended]
RUN = Path("outputs/runs/a")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    places = [f"output_dir={folder}", f"cache_dir={folder / 'cache'}"]
    assert main([*TINY, *places, "name=a", "dataset.samples=90", "quiet=true"]) == 0
    return folder / "runs/a"


@pytest.fixture
def run(trained: Path) -> Path:
    return shutil.copytree(trained, RUN)


def evaluation(run: Path) -> dict[str, Any]:
    content = json.loads((run / "evaluation.json").read_text())
    assert isinstance(content, dict)
    return content


def head_of(run: Path) -> tuple[dict[str, Any], str, str]:
    tensors = load_file(run / "model.safetensors")
    return tensors, "fc.weight", "fc.bias"


def test_scores_come_with_intervals_and_classes(command: Command, run: Path) -> None:
    ended = command("mode=evaluate", f"run={run}", "split=train", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    found = evaluation(run)
    assert {"accuracy", "macro_f1", "loss", "brier"} <= found["intervals"].keys()
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high and low < high
    assert sum(row["images"] for row in found["classes"]) == found["images"]
    recalls = [row["recall"] for row in found["classes"]]
    assert np.mean(recalls) == pytest.approx(found["balanced_accuracy"])
    assert 0 < found["brier"] < 2 and 0 <= found["auroc"] <= 1
    assert "95 % interval" in ended.out


def test_scores_that_cannot_be_kept_are_shown(command: Command, run: Path) -> None:
    (run / "evaluation.json").mkdir()
    ended = command("mode=evaluate", f"run={run}")
    assert ended.code == 3 and "macro_f1" in ended.out
    assert f"{run}/evaluation.json: what is shown cannot be kept" in ended.err
    assert [file.name for file in run.iterdir() if "writing" in file.name] == []


def test_two_models_on_the_same_images(command: Command, run: Path) -> None:
    worse = Path("outputs/runs/b")
    shutil.copytree(run, worse)
    tensors, weight, bias = head_of(worse)
    save_file(
        {**tensors, weight: 0 * tensors[weight], bias: np.array([0, 0, 1], np.float32)}, worse / "model.safetensors"
    )
    ended = command("mode=evaluate", f"run=[{run},{worse}]", "split=train", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    first, second = evaluation(run), evaluation(worse)
    against = first["against"][str(worse)]
    difference = first["accuracy"] - second["accuracy"]
    assert against["difference"] == pytest.approx(difference)
    assert (against["only_first"] - against["only_second"]) / first["images"] == pytest.approx(difference)
    assert second["against"][str(run)]["p"] == against["p"]
    assert "a against b" in ended.out and "p = " in ended.out


def test_a_run_that_is_named_from_within_has_its_name(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    ended = command("mode=evaluate", "run=.", "trainer.device=cpu")
    assert ended.code == 0 and "a on fake, split test" in ended.out, ended.err


def test_corruptions_have_a_table_and_a_picture(command: Command, run: Path) -> None:
    ended = command("mode=evaluate", f"run={run}", "evaluate.corruptions=true", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    found = evaluation(run)["corruptions"]
    assert len(found) >= 6 and all(len(values) == 5 for values in found.values())
    assert (run / "plots/corruptions.png").stat().st_size > 1000
    assert command("mode=evaluate", f"run={run}", "evaluate.corruptions=true", "trainer.device=cpu").code == 0
    assert evaluation(run)["corruptions"] == found, "the noise of an image is its own"


def test_a_temperature_is_put_into_the_head(command: Command, run: Path) -> None:
    tensors, weight, bias = head_of(run)
    # Far too sure of itself.
    save_file({**tensors, weight: 40 * tensors[weight], bias: 40 * tensors[bias]}, run / "model.safetensors")
    assert command("mode=evaluate", f"run={run}", "split=val", "trainer.device=cpu").code == 0
    before = evaluation(run)
    ended = command("mode=calibrate", f"run={run}", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    assert command("mode=evaluate", f"run={run}", "split=val", "trainer.device=cpu").code == 0
    after = evaluation(run)
    assert after["accuracy"] == before["accuracy"]
    assert after["ece"] < before["ece"] and after["loss"] < before["loss"]
    about, kept = json.loads((run / "model.json").read_text()), summary(run)["calibration"]
    assert about["temperature"] == kept["temperature"] > 1
    assert kept["after"] == pytest.approx(after["ece"], abs=1e-3)
    scaled = load_file(run / "model.safetensors")[weight]
    np.testing.assert_allclose(scaled, 40 * tensors[weight] / kept["temperature"], rtol=1e-4)
    assert "temperature" in (run / "report.html").read_text()
    again = command("mode=calibrate", f"run={run}", "trainer.device=cpu")
    assert again.code == 0 and "nothing was changed" in again.out, again.out
    assert json.loads((run / "model.json").read_text()) == about and summary(run)["calibration"] == kept


def test_a_head_that_takes_no_temperature_says_so(command: Command) -> None:
    words = [*TINY, "strategy=extract", "strategy.solver=knn", "name=a", "quiet=true"]
    assert command(*words).code == 0
    before = (RUN / "model.safetensors").read_bytes()
    ended = command("mode=calibrate", f"run={RUN}", "trainer.device=cpu")
    assert ended.code == 2 and "no temperature" in ended.err
    assert (RUN / "model.safetensors").read_bytes() == before


def test_auroc_is_scikit_learns() -> None:
    from transfer_cli.engine.task import Classification

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 3, 60)
    found = Classification(("a", "b", "c"), "auroc").scores(logits, labels)["auroc"]
    powers = np.exp(logits.astype(np.float64))
    expected = roc_auc_score(labels, powers / powers.sum(1, keepdims=True), multi_class="ovr")
    assert found == pytest.approx(expected)
