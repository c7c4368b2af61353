"""The table of modes is all that names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import experiment
from transfer_cli import modes
from transfer_cli.config.modes import MODES
from transfer_cli.errors import UserError


def test_the_folder_holds_a_file_for_each_mode_and_nothing_else() -> None:
    assert modes.__file__ is not None
    files = {path.stem for path in Path(modes.__file__).parent.glob("*.py")}
    assert files == {"__init__", *MODES}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mode=tarin"], r"mode=tarin: expected one of train, evaluate, .*\. Did you mean train"),
        (["mode=predict"], r"run: mode=predict needs run=<run directory>\.\ninput: mode=predict needs input="),
        (
            ["mode=rank", "rank.models=[resnet18]", "run=x"],
            "run=x: only mode=evaluate, mode=calibrate, mode=predict, mode=explain, mode=export, mode=push, mode=",
        ),
        (["output=x"], "output=x: only mode=predict, mode=export and mode=report read output"),
        (["run=x"], "run=x: mode=train makes a new run"),
        (
            ["mode=export", "run=[a,b]"],
            r"run=\[a,b\]: only mode=evaluate, mode=predict and mode=report take several runs",
        ),
        (["mode=predict", "input=x", "run=[a,a]"], r"run=\[a,a\]: each run once"),
        (["predict.top_k=2"], "predict: only mode=predict reads its keys"),
        (["export.layout=nchw"], "export: only mode=export reads its keys"),
        (["format=csv"], "format=csv: only mode=predict, mode=export, mode=script and mode=report read format"),
        (["mode=export", "run=x", "format=csv"], "format=csv: mode=export writes onnx, torch_export, "),
    ],
)
def test_a_mode_is_told_what_it_needs_and_does_not_read(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(*words)


def test_a_soup_goes_on_by_its_name_alone() -> None:
    words = ["mode=soup", "sweep.folder=outputs/sweeps/s", "name=soup"]
    assert experiment(*words, "resume=auto").resume == "auto"
    with pytest.raises(UserError, match="mode=soup goes on with name=<name> resume=auto"):
        experiment(*words, "resume=outputs/runs/soup")
