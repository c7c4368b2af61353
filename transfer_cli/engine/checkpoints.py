"""Resumable states: directories written whole or not at all, the newest valid one wins.

A state is `checkpoints/state-<sequence>/` with `state.json`, a safetensors file for each part that has tensors and,
written last, a manifest of their sha256. It appears by one rename; a kill at any moment leaves either the old states
or the old and the new one. What is in a state is its owners' business: each has a part under its own name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.state_writer import StateWriter, arrival, on_host
from transfer_cli.errors import RunError, UserError, first_line
from transfer_cli.files import UNFINISHED, file_sha256, fsync_directory, parsed_json
from transfer_cli.models.tensors import write_tensors

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
CONTENT = "state.json"
FORMAT = 2
_NAME = re.compile(r"state-\d{6}")
NEWEST = 2
"""How many states are kept besides the best while a run goes on, where nothing else is said."""


@dataclass(frozen=True)
class Part:
    """What one owner keeps in a state: plain values for JSON, and tensors."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Owner(Protocol):
    """Something that a state must bring back."""

    def state(self) -> Part:
        """All that `restore` needs."""
        ...

    def restore(self, part: Part) -> None:
        """Be exactly what gave `part`; what was made from it has nothing left to do."""
        ...


@dataclass(frozen=True)
class State:
    """One saved state: its parts by the names of their owners."""

    path: Path
    parts: dict[str, Part]


@dataclass(frozen=True)
class Checkpoints:
    """The states of one run: where they are, and whose parts they hold."""

    folder: Path
    owners: Mapping[str, Owner]
    config_hash: str
    """Of the settings of the run: a state of other settings is none of its states."""
    newest: int = NEWEST
    """How many states are kept besides the best."""
    world: World = ALONE
    """The ranks of the run: the first writes what all of them restore."""
    of_all: bool = False
    """Whether each rank has a part of what its owners hold, so that all of them give a state together."""
    beside: bool = False
    """Whether states are written while the training goes on: from a GPU, which then waits for no disk."""
    _writer: StateWriter = field(default_factory=StateWriter, init=False, compare=False)

    def next_name(self) -> str:
        """The name of the next state to be saved."""

        def name() -> str:
            names = [*(path.name for path in states_in(self.folder)), *filter(None, [self._writer.name])]
            numbers = [int(name.removeprefix("state-")) for name in names]
            return f"state-{1 + max(numbers, default=0):06d}"

        return self.world.of_first(name)

    def save(self, name: str, best: str | None) -> None:
        """Write a new state atomically, then delete what is no longer needed.

        `best` names the state whose weights are the best so far: it stays as long as this one does. Raises OSError,
        leaving nothing half written. Where it is written beside the training, `finish` waits until it is there.
        """
        together = self._parts() if self.of_all else None
        self.world.of_first(lambda: self._save(name, best, together or self._parts()))

    def finish(self) -> None:
        """Wait until the last state is there; all ranks wait. Raises OSError where it could not be written."""
        if self.beside:
            self.world.of_first(self._writer.finish)

    def finish_alone(self) -> OSError | None:
        """As `finish`, on this rank, whatever the others do; what the state could not be written for."""
        try:
            self._writer.finish()
        except OSError as error:
            return error
        return None

    def _parts(self) -> dict[str, Part]:
        return {name: owner.state() for name, owner in self.owners.items()}

    def _save(self, name: str, best: str | None, parts: Mapping[str, Part]) -> None:
        content = {
            "format": FORMAT,
            "config_hash": self.config_hash,
            "best": best,
            "tensors": [owner for owner, part in parts.items() if part.tensors],
            "parts": {owner: part.values for owner, part in parts.items()},
        }
        text, tensors = json.dumps(content, indent=1) + "\n", {owner: part.tensors for owner, part in parts.items()}
        if not self.beside:
            self._write(name, text, tensors)
            return
        copies = {owner: on_host(own) for owner, own in tensors.items()}
        wait = arrival({tensor.device for own in tensors.values() for tensor in own.values()})

        def write() -> None:
            wait()
            self._write(name, text, copies)

        self._writer.begin(name, write)

    def _write(self, name: str, content: str, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.folder.mkdir(exist_ok=True)
        temporary = self.folder / f"{UNFINISHED}-{name}"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            _write(temporary, content, tensors)
            temporary.rename(self.folder / name)
            fsync_directory(self.folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        prune(self.folder, self.newest)

    def restore(self, state: State) -> None:
        """Give every owner its part back. Raises RunError where one cannot take what is there."""
        for name, owner in self.owners.items():
            try:
                owner.restore(state.parts[name])
            except Exception as error:  # whatever an owner makes of values that it has never written
                raise RunError(
                    f"{state.path}: its checksums are right and it does not fit this run ({name}: "
                    f"{first_line(error)}). Remove it to go on from the state before it."
                ) from error


def _write(folder: Path, content: str, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """All files of a state, the manifest last, on the disk when this returns."""
    for name, own in tensors.items():
        if own:
            write_tensors(folder / f"{name}.safetensors", own)
    (folder / CONTENT).write_text(content, encoding="utf-8")
    hashes = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        _fsync(file)
    fsync_directory(folder)


def newest_valid(folder: Path, hashes: Collection[str]) -> tuple[State | None, list[str]]:
    """The newest state whose manifest verifies, and a warning for each newer one that does not.

    One that was saved under other settings than `hashes` stand for is no valid state of this run. Raises
    UserError for states of an earlier version of the program.
    """
    warnings: list[str] = []
    for path in reversed(states_in(folder)):
        problem = damage(path)
        if problem is None:
            content = _content(path)
            if content.get("format") != FORMAT:
                raise UserError(
                    f"{path}: this state is of another version of transfer-run. Finish the run with that version, "
                    f"start it again under another name, or remove {folder.parent}."
                )
            if content["config_hash"] in hashes:
                return _load(path, content), warnings
            problem = "it was saved by a run with other settings"
        warnings.append(f"{path}: {problem}; not used")
    return None, warnings


def load(path: Path) -> State:
    """A state that is known to be valid."""
    return _load(path, _content(path))


def states_in(folder: Path) -> list[Path]:
    """All states by their own names, the oldest first; copies that someone made under others are none."""
    return sorted(path for path in folder.glob("state-*") if _NAME.fullmatch(path.name))


def damage(path: Path) -> str | None:
    """Why a state cannot be trusted, or None."""
    try:
        hashes = parsed_json((path / MANIFEST).read_text(encoding="utf-8"))
        for name, expected in hashes.items():
            if file_sha256(path / Path(name).name) != expected:
                return f"{name} does not match its checksum"
        content = _content(path)
        if content.get("format") != FORMAT:
            return None
        if not _is_complete(content):
            return "values are missing"
        if not {CONTENT, *(f"{name}.safetensors" for name in content["tensors"])} <= hashes.keys():
            return "files are missing"
        for file in path.glob("*.safetensors"):
            _shapes(file)
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        return f"incomplete or unreadable ({type(error).__name__})"
    return None


def _is_complete(content: dict[str, Any]) -> bool:
    """Whether a state of this version has all that is read before its owners look at their parts."""
    best, tensors, parts = (content.get(key) for key in ("best", "tensors", "parts"))
    return (
        isinstance(content.get("config_hash"), str)
        and (best is None or (isinstance(best, str) and _NAME.fullmatch(best) is not None))
        and isinstance(tensors, list)
        and isinstance(parts, dict)
        and all(isinstance(values, dict) for values in parts.values())
        and all(isinstance(name, str) and name in parts for name in tensors)
    )


def has_shapes(path: Path, part: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether one part of a state has just the names and shapes of these tensors."""
    return _shapes(path / f"{part}.safetensors") == {name: [*tensor.shape] for name, tensor in tensors.items()}


def _shapes(file: Path) -> dict[str, list[int]]:
    """By name, from a file's header."""
    with safe_open(file, "pt") as opened:
        return {name: [*opened.get_slice(name).get_shape()] for name in opened.keys()}  # noqa: SIM118


def load_tensors(path: Path, part: str) -> dict[str, Tensor]:
    """The tensors of one part of a state."""
    return load_file(path / f"{part}.safetensors")


def prune(folder: Path, newest: int = NEWEST) -> None:
    """Delete what a kill left half written, and all states but the newest and the best ones that these name."""
    states = states_in(folder)
    keep = {path.name for path in states[-newest:]}
    keep |= {best for path in states[-newest:] if (best := _best_of(path))}
    _remove_but(folder, keep)


def prune_completed(folder: Path, keep: Literal["best", "last", "none"]) -> None:
    """Delete the states of a completed run but the best or the newest, or all of them."""
    last = states_in(folder)[-1:]
    wanted: dict[str, list[str | None]] = {
        "best": [_best_of(path) for path in last],
        "last": [path.name for path in last],
    }
    _remove_but(folder, wanted.get(keep, []))
    if keep == "none" and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _remove_but(folder: Path, keep: Collection[str | None]) -> None:
    for path in [*states_in(folder), *folder.glob(f"{UNFINISHED}-*")]:
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _best_of(path: Path) -> str | None:
    """The state that holds the best weights as of this one."""
    try:
        best = str(_content(path)["best"] or "")
        return best if _NAME.fullmatch(best) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = parsed_json((path / CONTENT).read_text(encoding="utf-8"))
    return content


def _load(path: Path, content: dict[str, Any]) -> State:
    try:
        tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error
    return State(path, {name: Part(values, tensors.get(name, {})) for name, values in content["parts"].items()})


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
