"""The whole command on a few coloured pictures, and each peer on its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.benchmarks.evidence import bench, cuts, ours, sets
from tests.benchmarks.evidence.__main__ import main
from tests.benchmarks.evidence.methods import METHODS, Recipe
from tests.benchmarks.evidence.peers.material import Material
from tests.benchmarks.evidence.words import parse
from transfer_cli.errors import EXIT_PREEMPTED

TINY = [
    *("evidence.models=[test_resnet]", "evidence.weights=none", "evidence.image_size=32", "evidence.device=cpu"),
    *("evidence.low=6", "evidence.test=15", "evidence.seeds=1", "evidence.epochs=1", "evidence.data=[low]"),
]


def test_one_command_measures_reports_and_goes_on(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, f"evidence.sets=[{pictures}]", "evidence.methods=[probe,sklearn]", "evidence.sweep=1"]
    assert main(words) == 0
    lines = Path("outputs/evidence/results.jsonl").read_text()
    assert [json.loads(line)["method"] for line in lines.splitlines()] == ["finetune", "probe", "sklearn", "sweep_00"]
    report = json.loads(Path("outputs/evidence/evidence.json").read_text())
    assert report["places"][0]["test"].keys() == {"finetune", "probe", "sklearn"}
    assert report["places"][0]["regret"]["points"] == 1
    text = Path("outputs/evidence/evidence.md").read_text()
    assert "| pictures |" in text
    assert text in capsys.readouterr().out
    assert not list(Path("outputs/evidence/runs").rglob("model.safetensors"))

    def train(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(ours, "run", train)
    assert main(words) == 0
    assert Path("outputs/evidence/results.jsonl").read_text() == lines

    monkeypatch.setattr(bench, "code_of", lambda files: "other")
    with pytest.raises(AssertionError, match="trained again"):
        main([*words, "evidence.again=true"])


def test_a_signal_ends_the_study_with_its_code(
    pictures: Path, stop_at: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(1)
    assert main([*TINY, f"evidence.sets=[{pictures}]", "evidence.methods=[]"]) == EXIT_PREEMPTED
    assert "the same command goes on" in capsys.readouterr().err
    assert not Path("outputs/evidence/results.jsonl").exists()


def test_the_default_is_the_bare_command() -> None:
    study = parse([])
    cut = cuts.Cut("s", "full", 2, Path("cut"))
    recipe = METHODS["finetune"]
    assert isinstance(recipe, Recipe)
    assert sorted(ours.words_of(study, "efficientnet_lite0", cut, recipe)) == [
        *("dataset.path=cut", "dataset=folder", "image_size=64", "seed=2", "strategy=finetune", "trainer.epochs=8")
    ]


def test_a_changed_setting_is_measured_anew() -> None:
    words = ["dataset=folder", "dataset.path=cut"]
    assert ours.settings_hash(words) != ours.settings_hash([*words, "optimizer.weight_decay=0.2"])


@pytest.mark.parametrize("method", ["timm", "tutorial", "sklearn", "fastai"])
@pytest.mark.filterwarnings("ignore")
def test_a_peer_trains_and_is_scored(method: str, pictures: Path, tmp_path: Path) -> None:
    if method == "fastai":
        pytest.importorskip("fastai")
    import importlib

    from tests.benchmarks.evidence.methods import Peer

    peer = METHODS[method]
    assert isinstance(peer, Peer)
    study = parse([*TINY, "evidence.low=10"])
    cut = cuts.make(study, sets.prepare(str(pictures), tmp_path / "sets"), "low", 0)
    material = Material(cut.folder, "test_resnet", "none", 32, 2, 0, torch.device("cpu"))
    module = importlib.import_module(f"tests.benchmarks.evidence.peers.{peer.module}")
    scores = module.fit(material, **dict(peer.options))
    assert 0 <= scores.val <= 1
    assert 0 <= scores.test <= 1
