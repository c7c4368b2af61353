"""States survive what a kill, a full disk or a bad sector does to them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from transfer_cli.engine import states


def save(folder: Path, number: float, best: str | None = None) -> str:
    name = states.next_name(folder)
    values = {"number": number, "best": {"state": best} if best else None}
    states.save_state(folder, name, {"model": {"w": torch.full((3,), number)}}, values)
    return name


def test_newest_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path, 1.5)
    save(tmp_path, 1 / 3)
    state, warnings = states.newest_valid(tmp_path)
    assert state is not None and not warnings
    assert state.values["number"] == 1 / 3
    assert torch.equal(state.tensors["model"]["w"], torch.full((3,), 1 / 3))


@pytest.mark.parametrize("damage", ["truncate", "flip", "no manifest", "empty manifest", "foreign manifest"])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    newest = tmp_path / save(tmp_path, 2)
    file = newest / "model.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[:-1])
    elif damage == "flip":
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "no manifest":
        (newest / states.MANIFEST).unlink()
    else:
        (newest / states.MANIFEST).write_text("" if damage == "empty manifest" else "[1, 2]")
    state, warnings = states.newest_valid(tmp_path)
    assert state is not None and state.values["number"] == 1
    assert len(warnings) == 1 and newest.name in warnings[0]


def test_prune_keeps_two_and_the_best_and_removes_torn_writes(tmp_path: Path) -> None:
    best = save(tmp_path, 1)
    for number in (2, 3, 4):
        save(tmp_path, number, best)
    (tmp_path / ".writing-state-000009").mkdir()
    states.prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [best, "state-000003", "state-000004"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(states, "_fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["state-000001"]


def test_no_states_is_no_error(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    assert states.newest_valid(tmp_path) == (None, [])
