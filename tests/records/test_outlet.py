"""Standard output that is closed, full or read by nobody: what was asked for is told apart from what is a copy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY, summary

COMMAND = f"'{sys.executable}' -m transfer_cli"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("redirected", "warns"),
    [
        (">/dev/full", True),
        pytest.param("| head -n 1; exit ${PIPESTATUS[0]}", False, marks=pytest.mark.slow),
        pytest.param(">&-", False, marks=pytest.mark.slow),
        pytest.param("<&- >&- 2>&-", False, marks=pytest.mark.slow),
    ],
    ids=["full", "closed pipe", "closed", "all closed"],
)
def test_a_training_goes_on_without_it(tmp_path: Path, redirected: str, *, warns: bool) -> None:
    ended = shell(f"{COMMAND} {' '.join(TINY)} trainer.epochs=1 name=run {redirected}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    run = tmp_path / "outputs" / "runs" / "run"
    assert summary(run)["status"] == "completed"
    assert (run / "run.log").read_text().splitlines()[-1] == "outputs/runs/run"
    warning = "warning: standard output cannot be written (No space left on device); going on without it\n"
    assert ended.stderr == (warning if warns else "")


@pytest.mark.parametrize("asked", ["--help", "--cfg job", "--info"])
def test_what_was_asked_for_and_is_lost_is_an_error(tmp_path: Path, asked: str) -> None:
    full = shell(f"{COMMAND} {asked} >/dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (3, "error: standard output cannot be written: No space left on device.\n")
    enough = shell(f"{COMMAND} {asked} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (enough.returncode, enough.stderr) == (0, "")


def test_a_wrong_word_keeps_its_exit_code_where_nothing_can_be_said(tmp_path: Path) -> None:
    assert shell(f"{COMMAND} no_such_key=1 2>/dev/full", tmp_path).returncode == 2
    assert shell(f"{COMMAND} no_such_key=1 >&- 2>&-", tmp_path).returncode == 2
    assert not list(tmp_path.iterdir())
