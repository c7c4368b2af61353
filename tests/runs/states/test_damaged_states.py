"""Going on after others have laid hands on a run: the same bits, a fall-back that is said, or one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, Ended, logged, summary
from transfer_cli.files import file_sha256

Command = Callable[..., Ended]
RUN = Path("outputs/runs/run")
WORDS = [*TINY, "trainer.epochs=4", "optimizer.lr=0.003", "tune=off", "strategy.batch_norm=train"]
RESULTS = ("model.safetensors", "metrics.jsonl", "predictions.csv")


def resumed(command: Command, code: int = 0) -> Ended:
    """The command, which goes on where it can."""
    ended = command(*WORDS, "name=run", "resume=auto")
    assert ended.code == code, ended.err
    return ended


@pytest.fixture
def interrupted(command: Command, stop_at: Callable[[int | None], None]) -> None:
    """A run that was stopped in its third epoch, and `whole`, one that was not."""
    assert command(*WORDS, "name=whole").code == 0
    stop_at(10)
    resumed(command, code=75)
    stop_at(None)


def states() -> list[Path]:
    return sorted((RUN / "checkpoints").glob("state-*"))


def rewrite(state: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Other values in a state, with the right checksums."""
    content = json.loads((state / "state.json").read_text())
    change(content)
    (state / "state.json").write_text(json.dumps(content))
    _sign(state)


def _sign(state: Path) -> None:
    hashes = {file.name: file_sha256(file) for file in state.iterdir() if file.name != "manifest.json"}
    (state / "manifest.json").write_text(json.dumps(hashes))


def _other_moments(state: Path) -> None:
    tensors = load_file(state / "optimizer.safetensors")
    save_file({name: torch.zeros(2) if t.ndim else t for name, t in tensors.items()}, state / "optimizer.safetensors")
    _sign(state)


def _without_precision(content: dict[str, Any]) -> None:
    content["parts"]["compute"] = {}


def _without_recorders(content: dict[str, Any]) -> None:
    del content["parts"]["recorders"]


def _without_history(content: dict[str, Any]) -> None:
    del content["parts"]["progress"]["history"]


def _other_logs(content: dict[str, Any]) -> None:
    content["parts"]["recorders"] = {"MetricsRecorder": 3}


REFUSED: dict[str, Callable[[Path], None]] = {
    "moments of another shape": _other_moments,
    "no precision": lambda state: rewrite(state, _without_precision),
    "logs that are none": lambda state: rewrite(state, _other_logs),
    "no recorders": lambda state: rewrite(state, _without_recorders),
    "no history": lambda state: rewrite(state, _without_history),
}
PASSED_OVER: dict[str, Callable[[Path], None]] = {
    "best elsewhere": lambda state: rewrite(state, lambda content: content.update(best="../../other/state-000001")),
    "no settings": lambda state: rewrite(state, lambda content: content.pop("config_hash")),
    "other settings": lambda state: rewrite(state, lambda content: content.update(config_hash="0" * 16)),
    "parts that are none": lambda state: rewrite(state, lambda content: content.update(parts=[])),
    "an empty manifest": lambda state: (state / "manifest.json").write_text("{}") and None,
    "a flipped byte": lambda state: (
        (state / "network.safetensors").write_bytes((state / "network.safetensors").read_bytes()[:-1] + b"\x07")
        and None
    ),
}


def _first_two(cases: dict[str, Callable[[Path], None]]) -> list[Any]:
    """All cases, those after the first two only where there is time."""
    marks = [[], [], *[[pytest.mark.slow]] * len(cases)]
    return [pytest.param(case, id=name, marks=mark) for (name, case), mark in zip(cases.items(), marks, strict=False)]


@pytest.mark.parametrize("damage", _first_two(REFUSED))
@pytest.mark.usefixtures("interrupted")
def test_what_does_not_fit_is_refused_by_name(command: Command, damage: Callable[[Path], None]) -> None:
    newest = states()[-1]
    damage(newest)
    ended = resumed(command, code=3)
    assert str(newest) in ended.err and "Remove it to go on from the state before it." in ended.err
    assert "Traceback" not in ended.err
    shutil.rmtree(newest)
    resumed(command)
    _as_if_nothing_had_happened()


@pytest.mark.parametrize("damage", _first_two(PASSED_OVER))
@pytest.mark.usefixtures("interrupted")
def test_a_damaged_state_is_passed_over_and_said_to_be(command: Command, damage: Callable[[Path], None]) -> None:
    newest = states()[-1]
    damage(newest)
    ended = resumed(command)
    assert f"warning: {newest}: " in ended.out
    _as_if_nothing_had_happened()


@pytest.mark.usefixtures("interrupted")
def test_without_any_state_it_says_that_training_starts_again(command: Command) -> None:
    for state in states():
        (state / "manifest.json").unlink()
    ended = resumed(command)
    assert f"warning: {RUN}: no usable state is left; training starts again at epoch 1" in ended.out
    _as_if_nothing_had_happened()


def _of_another_network(state: Path) -> None:
    tensors = load_file(state / "network.safetensors")
    save_file({name: torch.zeros(2) if t.ndim else t for name, t in tensors.items()}, state / "network.safetensors")
    _sign(state)


def _noise(state: Path) -> None:
    (state / "network.safetensors").write_bytes(b"noise" * 100)
    _sign(state)


@pytest.mark.parametrize(
    "damage", [shutil.rmtree, *(pytest.param(one, marks=pytest.mark.slow) for one in (_of_another_network, _noise))]
)
@pytest.mark.usefixtures("interrupted")
def test_where_the_best_weights_are_gone_others_take_their_place_at_once(
    command: Command, damage: Callable[[Path], None]
) -> None:
    newest = states()[-1]
    best = json.loads((newest / "state.json").read_text())["best"]
    assert best not in (None, newest.name)
    damage(newest.with_name(best))
    ended = resumed(command)
    assert f"{newest.with_name(best)}: " in ended.out and f"those of {newest.name} take their place" in ended.out
    assert summary(RUN)["status"] == "completed"
    trained = [event for event in logged(RUN / "metrics.jsonl") if event["split"] == "train"]
    assert [event["epoch"] for event in trained] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b'{"split": "train", "epoch": 1}\nhalf',
        *(pytest.param(text, marks=pytest.mark.slow) for text in (b"", b"{}\n", b"\x00" * 400)),
    ],
    ids=["gone", "half", "empty", "no event", "zeros"],
)
@pytest.mark.usefixtures("interrupted")
def test_a_log_that_has_changed_is_noticed_at_the_start(command: Command, content: bytes | None) -> None:
    log = RUN / "metrics.jsonl"
    if content is None:
        log.unlink()
    else:
        log.write_bytes(content)
    ended = resumed(command)
    assert f"warning: {log}: lines have changed or are gone since they were written; going on with" in ended.out
    whole = Path("outputs/runs/whole")
    assert (RUN / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert [event["epoch"] for event in logged(log)][-2:] == [4, summary(RUN)["best_epoch"]]


def _as_if_nothing_had_happened() -> None:
    for file in RESULTS:
        assert (RUN / file).read_bytes() == (Path("outputs/runs/whole") / file).read_bytes(), file
