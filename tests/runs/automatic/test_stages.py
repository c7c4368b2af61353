"""Which backbones are probed, and which go on."""

from __future__ import annotations

import pytest

from tests.conftest import experiment
from transfer_cli.errors import RunError
from transfer_cli.runs.automatic import stages


def test_the_best_probes_go_on_whatever_the_metric() -> None:
    probes = {"a": {"val": 0.90}, "b": {"val": 0.92}, "c": {"val": 0.80}, "d": {"error": "no weights"}}
    assert stages.keep(probes, "accuracy") == ["b", "a"]
    assert stages.keep(probes, "loss") == ["c"]
    with pytest.raises(RunError, match="d: no weights"):
        stages.keep({"d": probes["d"]}, "accuracy")


def test_what_the_command_names_is_probed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "models_at_hand", lambda source: ["small", "resnet18"])
    assert stages.backbones(experiment("rank.models=[resnet50]")) == ["resnet50"]
    assert stages.backbones(experiment("model=resnet18", "model.weights=none")) == ["resnet18"]
    assert stages.backbones(experiment("model=resnet18")) == ["resnet18", "small"]
