"""States survive what a kill, a full disk or a bad sector does to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch

from transfer_cli.engine import checkpoints, state_files
from transfer_cli.engine.checkpoints import Checkpoints
from transfer_cli.engine.state_files import Part
from transfer_cli.errors import UserError
from transfer_cli.files import file_sha256

SETTINGS = "settings"


class Number:
    """An owner of one number and three equal weights."""

    def __init__(self, value: float) -> None:
        self.value = value

    def state(self) -> Part:
        return Part({"value": self.value}, {"w": torch.full((3,), self.value)})

    def restore(self, part: Part) -> None:
        assert torch.equal(part.tensors["w"], torch.full((3,), part.values["value"]))
        self.value = part.values["value"]


def save(folder: Path, number: float, best: str | None = None) -> str:
    states = Checkpoints(folder, {"number": Number(number)}, SETTINGS)
    name = states.next_name()
    states.save(name, best)
    return name


def newest(folder: Path, settings: str = SETTINGS) -> tuple[float | None, list[str]]:
    """The number of the newest valid state, and the warnings."""
    state, warnings = state_files.newest_valid(folder, {settings})
    if state is None:
        return None, warnings
    found = Number(0)
    Checkpoints(folder, {"number": found}, settings).restore(state)
    return found.value, warnings


def test_newest_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save(tmp_path, 1.5)
    save(tmp_path, 1 / 3)
    assert newest(tmp_path) == (1 / 3, [])


@pytest.mark.parametrize("damage", ["truncate", "flip", "no manifest", "empty manifest", "foreign manifest"])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    last = tmp_path / save(tmp_path, 2)
    file = last / "number.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[:-1])
    elif damage == "flip":
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "no manifest":
        (last / state_files.MANIFEST).unlink()
    else:
        (last / state_files.MANIFEST).write_text("" if damage == "empty manifest" else "[1, 2]")
    number, warnings = newest(tmp_path)
    assert number == 1
    assert len(warnings) == 1 and last.name in warnings[0]


def test_noise_with_the_right_checksum_is_no_tensors(tmp_path: Path) -> None:
    save(tmp_path, 1)
    state = tmp_path / save(tmp_path, 2)
    (state / "number.safetensors").write_bytes(b"noise" * 20)
    hashes = {name: file_sha256(state / name) for name in ("state.json", "number.safetensors")}
    (state / "manifest.json").write_text(json.dumps(hashes))
    value, warnings = newest(tmp_path)
    assert value == 1 and len(warnings) == 1


def test_names_and_shapes_are_compared(tmp_path: Path) -> None:
    state = tmp_path / save(tmp_path, 1)
    assert state_files.has_shapes(state, "number", {"w": torch.zeros(3)})
    for other in ({"w": torch.zeros(2)}, {"v": torch.zeros(3)}, {}):
        assert not state_files.has_shapes(state, "number", other)


def test_a_state_of_other_settings_is_no_state_of_this_run(tmp_path: Path) -> None:
    save(tmp_path, 1)
    number, warnings = newest(tmp_path, "other settings")
    assert number is None
    assert "other settings" in warnings[0]


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / save(tmp_path, 1)
    content = json.loads((path / state_files.CONTENT).read_text())
    (path / state_files.CONTENT).write_text(json.dumps({**content, "format": 1}))
    hashes = {file.name: file_sha256(file) for file in path.iterdir() if file.name != state_files.MANIFEST}
    (path / state_files.MANIFEST).write_text(json.dumps(hashes))
    with pytest.raises(UserError, match="another version of transfer-run"):
        newest(tmp_path)


def test_prune_keeps_two_and_the_best_and_removes_torn_writes(tmp_path: Path) -> None:
    best = save(tmp_path, 1)
    for number in (2, 3, 4):
        save(tmp_path, number, best)
    (tmp_path / ".writing-state-000009").mkdir()
    state_files.prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [best, "state-000003", "state-000004"]


@pytest.mark.parametrize(("keep", "left"), [("best", [1]), ("last", [3]), ("none", None)])
def test_of_a_completed_run_what_was_asked_for_is_kept(
    keep: Literal["best", "last", "none"], left: list[int] | None, tmp_path: Path
) -> None:
    folder = tmp_path / state_files.FOLDER
    best = save(folder, 1)
    for number in (2, 3):
        save(folder, number, best)
    state_files.prune_completed(folder, keep)
    names = [path.name for path in folder.iterdir()] if folder.exists() else None
    assert names == (None if left is None else [f"state-{number:06d}" for number in left])


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["state-000001"]


def test_no_states_is_no_error(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    assert newest(tmp_path) == (None, [])


def test_a_copy_under_another_name_is_no_state(tmp_path: Path) -> None:
    first = save(tmp_path, 1)
    for name in (f"{first} (copy)", f"{first}.bak", "state-abc"):
        shutil.copytree(tmp_path / first, tmp_path / name)
    assert save(tmp_path, 2) == "state-000002"
    assert newest(tmp_path) == (2, [])


@pytest.mark.parametrize("content", ["manifest", "tensors"])
def test_a_manifest_must_name_what_a_state_needs(tmp_path: Path, content: str) -> None:
    save(tmp_path, 1)
    last = tmp_path / save(tmp_path, 2)
    if content == "manifest":
        (last / state_files.MANIFEST).write_text("{}")
    else:
        (last / "number.safetensors").unlink()
        hashes = {state_files.CONTENT: file_sha256(last / state_files.CONTENT)}
        (last / state_files.MANIFEST).write_text(json.dumps(hashes))
    number, warnings = newest(tmp_path)
    assert number == 1
    assert "missing" in warnings[0]
