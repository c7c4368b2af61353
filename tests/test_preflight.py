"""What is checked against this machine's files before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import experiment
from transfer_cli.errors import UserError
from transfer_cli.preflight import preflight

DISTILL = ["strategy=distill", "strategy.teacher.model=resnet50", "dataset.unlabelled=more"]


@pytest.mark.parametrize("name", ["digits", "fake"])
def test_a_set_in_memory_takes_no_files_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "more").mkdir()
    with pytest.raises(UserError, match=rf"dataset\.unlabelled: dataset={name} is in memory"):
        preflight(experiment(f"dataset={name}", *DISTILL))
    with pytest.raises(UserError, match=rf"dataset\.path=more: dataset={name} reads no files"):
        preflight(experiment(f"dataset={name}", "dataset.path=more"))


def test_each_source_says_what_it_expects(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n")
    for name, expected in (("folder", "folder of images"), ("cifar10", "folder that holds the set")):
        with pytest.raises(UserError, match=rf"dataset\.path=list\.csv: expected a {expected}.*found a file"):
            preflight(experiment(f"dataset={name}", "dataset.path=list.csv"))
    with pytest.raises(UserError, match=r"dataset\.path=nowhere.*dataset\.download=true"):
        preflight(experiment("dataset=cifar10", "dataset.path=nowhere"))


def test_it_imports_no_torch() -> None:
    code = (
        "import sys; from transfer_cli import preflight; from transfer_cli.data.sources.load import names, source_of; "
        "[source_of(name) for name in names()]; print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_rows_take_the_place_of_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "image.png").write_bytes(b"")
    for output in ("pipe", "/dev/stdout"):
        with pytest.raises(UserError, match=rf"output={output}: expected a file, found a device or a pipe"):
            preflight(experiment("mode=predict", "run=.", "input=image.png", f"output={output}"))
    with pytest.raises(UserError, match=r"output=pipe: expected a folder"):
        preflight(experiment("mode=export", "run=.", "output=pipe"))


def test_outputs_go_where_weights_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output_dir: .*no UTF-8"):
        preflight(experiment(f"output_dir='{tmp_path}/\udcff'"))
