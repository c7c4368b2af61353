"""mode=auto, as a user runs it: a model that can be used, in time, with what was decided and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Ended, summary
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_PREEMPTED
from transfer_cli.runs.automatic import stages
from transfer_cli.runs.automatic.plan import CANDIDATES, HALVING, Plan

Command = Callable[..., Ended]
FOLDER = Path("outputs/auto/one")


@pytest.fixture
def words(command: Command) -> list[str]:
    """A pretrained backbone, ten times what a run with it takes."""
    assert command(*TINY, "name=first", "optimizer.lr=0.01").code == 0
    own = [word for word in TINY if not word.startswith("trainer.epochs")]
    return [
        *own,
        "mode=auto",
        "model.weights=outputs/runs/first",
        "dataset.num_classes=4",
        "trainer.budget=25s",
        "name=one",
    ]


def journal() -> dict[str, Any]:
    """`auto.json`."""
    found = json.loads((FOLDER / "auto.json").read_text())
    assert isinstance(found, dict)
    return found


def test_a_model_in_time(command: Command, words: list[str]) -> None:
    ended = command(*words)
    assert ended.code == 0, ended.err
    found = journal()
    assert found["seconds_spent"] <= 1.05 * 25
    decisions = found["decisions"]
    names = [
        "asked",
        "backbones",
        "probe of test_resnet",
        "kept",
        "pilot of test_resnet",
        "plan",
        "seconds before the search",
        "best",
        "calibration",
    ]
    assert [name for name in decisions if not name.startswith("time is short")] == names
    assert summary(FOLDER / "best")["status"] == "completed"
    pages = [(folder / "report.html").read_text() for folder in (FOLDER, FOLDER / "best")]
    assert "probe of test_resnet" in pages[0] and "by a temperature of" in pages[1]
    calibration = decisions["calibration"]
    assert calibration["after"] <= calibration["before"]
    assert summary(FOLDER / "best")["calibration"] == calibration
    evaluated = command("mode=evaluate", f"run={FOLDER}/best", "split=val", "trainer.device=cpu")
    assert repr(decisions["best"]["val"]) in evaluated.out
    scores = json.loads((FOLDER / "best" / "evaluation.json").read_text())
    assert scores["ece"] == pytest.approx(calibration["after"], abs=1e-4)
    assert not (FOLDER / "pilot").exists()


@pytest.mark.parametrize(
    "looks", [pytest.param(2, marks=pytest.mark.slow), 9, pytest.param(30, marks=pytest.mark.slow)]
)
def test_stopped_it_goes_on_and_keeps_its_decisions(
    command: Command, words: list[str], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0

    def code(self: Stop) -> int | None:
        nonlocal seen
        seen += 1
        return EXIT_PREEMPTED if seen >= looks else None

    from transfer_cli.runs.automatic.journal import Deadline

    with monkeypatch.context() as patched:
        for kind in (Stop, Deadline):
            patched.setattr(kind, "code", property(code, lambda self, value: None), raising=False)
            patched.setattr(kind, "signalled", property(lambda self: True), raising=False)
        assert command(*words).code == 75
    before = journal()["decisions"]
    ended = command(*words, "resume=auto")
    assert ended.code == 0, ended.err
    after = journal()["decisions"]
    assert {name: after[name] for name in before} == before
    assert summary(FOLDER / "best")["status"] == "completed"
    pages = [(folder / "report.html").read_text() for folder in (FOLDER, FOLDER / "best")]
    assert "probe of test_resnet" in pages[0] and "by a temperature of" in pages[1]


def test_without_time_for_an_epoch_the_probe_is_the_model(
    command: Command, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(self: stages.Work, model: str) -> dict[str, Any]:
        return {"error": "time was up before it had trained an epoch"}

    monkeypatch.setattr(stages.Work, "pilot", late)
    for _ in range(2):
        ended = command(*words, "resume=auto")
        assert ended.code == 0, ended.err
        assert "no finetuning" in ended.out
        assert summary(FOLDER / "best")["strategy"] == "extract"
    assert command("mode=evaluate", f"run={FOLDER}/best", "trainer.device=cpu").code == 0


@pytest.mark.slow
def test_low_rank_updates_are_a_candidate(command: Command, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is time for a deep search, before rates, which come last."""
    monkeypatch.setattr(stages, "choose_plan", lambda *_: Plan("full", 1, 4, HALVING))
    ended = command(*words, "trainer.budget=10m")
    assert ended.code == 0, ended.err
    tried = json.loads((FOLDER / "best" / "search.json").read_text())["tried"]
    first = [one["settings"] for one in tried if one["epochs"] == 1]
    assert len(first) == CANDIDATES["full"]
    assert [number for number, settings in enumerate(first) if "strategy.adapter=lora" in settings] == [2]


@pytest.mark.slow
def test_a_taken_name_and_another_data_set_are_refused(command: Command, words: list[str]) -> None:
    assert command(*words).code == 0
    assert command(*words).code == 2
    for word in ("seed=5", "image_fit=pad"):
        ended = command(*words, "resume=auto", word)
        assert ended.code == 2
        assert f"was begun with another {word.partition('=')[0]}" in ended.err


def test_what_cannot_be_trained_on_is_found_before_anything_is_written(command: Command) -> None:
    tiny = [word for word in TINY if not word.startswith("dataset")]
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Path("photos", name).write_bytes(b"no picture")
    words = ["mode=auto", "trainer.budget=1m", "dataset=folder", "dataset.path=photos"]
    ended = command(*tiny, *words)
    assert ended.code == 2
    assert "photos" in ended.err
    ended = command(*TINY, *words[:2], "model.weights=auto", "rank.models=[resnet18,resnet34]")
    assert ended.code == 2
    assert "resnet18: " in ended.err and "resnet34: " in ended.err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mode=auto"], "trainer.budget: mode=auto needs it; expected a time such as 90s, 20m or 3h50m."),
        (["mode=auto", "trainer.budget=20"], "trainer.budget=20: expected a time"),
        (["trainer.budget=20m"], "trainer.budget=20m: only mode=auto reads it."),
        (["mode=auto", "trainer.budget=1m", "strategy=extract"], "strategy=extract: mode=auto probes and finetunes"),
        (["mode=auto", "trainer.budget=1m", "rank.models=[resnet5]"], "resnet5"),
    ],
)
def test_wrong_words(command: Command, words: list[str], said: str) -> None:
    ended = command(*words)
    assert ended.code == 2
    assert said in ended.err
    assert not Path("outputs").exists()
