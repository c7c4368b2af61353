"""The table of parameter groups."""

from __future__ import annotations

from pathlib import Path

from transfer_cli.records.parameters import Row, in_a_line, write_parameters

ROWS = [
    Row("stem", 100),
    Row("layer1", 200),
    Row("layer2", 50),
    Row("layer2", 9, 0.01, 0.0, 3),
    Row("layer3", 300, 0.01, 0.1, 2),
    Row("layer3", 3, 0.01, 0.0, 2),
    Row("head", 30, 0.1, 0.1, 1),
]


def test_stages_that_are_alike_stand_together() -> None:
    line = "stem to layer1 frozen, layer2 0.01 (partly frozen) from epoch 3, layer3 0.01 from epoch 2, head 0.1"
    assert in_a_line(ROWS) == line


def test_cells_of_frozen_parameters_are_empty(tmp_path: Path) -> None:
    write_parameters(ROWS, tmp_path)
    lines = (tmp_path / "parameters.csv").read_text().splitlines()
    assert lines[:2] == ["stage,parameters,learning_rate,weight_decay,trains_from_epoch", "stem,100,,,"]
    assert lines[-1] == "head,30,0.1,0.1,1"
