"""summary.json keeps its contract; environment.json says where numbers come from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from transfer_cli.records.summary import environment, write_summary

# DESIGN section 5.
CONTRACT = [
    "status",
    "strategy",
    "model",
    "dataset",
    "seed",
    "epochs",
    "best_epoch",
    "val",
    "test",
    "parameters",
    "train_seconds",
    "images_per_second",
    "peak_memory_bytes",
    "device",
    "precision",
    "weights_sha256",
    "cache",
    "config_hash",
]


def test_every_key_of_the_contract_is_there_however_the_run_ended(tmp_path: Path) -> None:
    write_summary(tmp_path, status="failed", error="disk full", model="resnet18")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == [*CONTRACT, "error"]
    assert summary["model"] == "resnet18"
    assert summary["val"] is None


def test_scores_that_are_not_finite_are_valid_json(tmp_path: Path) -> None:
    write_summary(tmp_path, status="completed", val={"loss": float("nan")})
    assert json.loads((tmp_path / "summary.json").read_text())["val"] == {"loss": None}


def test_environment_repeats_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["transfer-run", "dataset.path=my pictures"])
    found = environment(7, "cuda (Some GPU)")
    assert found["command"] == "transfer-run 'dataset.path=my pictures'"
    assert (found["seed"], found["device"]) == (7, "cuda (Some GPU)")
    assert found["versions"]["torch"][0].isdigit()
    json.dumps(found)


def test_environment_finds_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment(0, "cpu")["git_commit"] is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert environment(0, "cpu")["git_commit"] is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    head = subprocess.run([*git, "log", "-1", "--format=%H"], check=True, capture_output=True, text=True).stdout.strip()
    assert environment(0, "cpu")["git_commit"] == head


def test_environment_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment(0, "cpu")["git_commit"] is None


def test_versions_cost_no_imports() -> None:
    code = (
        "import sys; from transfer_cli.records import metrics, predictions, summary, terminal\n"
        "summary.environment(0, 'cpu')\n"
        "print([name for name in ('torch', 'sklearn', 'matplotlib', 'rich') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "[]\n"
