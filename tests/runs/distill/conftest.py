"""A teacher for the students of these tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import TINY
from transfer_cli.cli import main


@pytest.fixture(scope="session")
def _trained_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the outputs and the cache of a training that all tests have a copy of."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TRANSFER_RUN_CACHE", str(folder / "cache"))
        assert main([*TINY, "name=teacher", "trainer.epochs=1", "seed=7"]) == 0
    return folder


@pytest.fixture
def teacher(_trained_teacher: Path) -> str:
    """A run directory whose network has seen one epoch."""
    shutil.copytree(_trained_teacher, Path.cwd(), dirs_exist_ok=True)
    return "strategy.teacher.weights=outputs/runs/teacher"
