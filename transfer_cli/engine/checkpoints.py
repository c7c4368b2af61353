"""Resumable states are written whole or not at all.

A state appears by one rename; a kill at any moment leaves either the old states or the old and the new one. What is in
it is its owners' business: each has a part under its own name. `state_files` says how it lies on the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.state_files import CONTENT, FORMAT, MANIFEST, NEWEST, Part, State, prune, states_in
from transfer_cli.engine.state_writer import StateWriter, arrival, on_host
from transfer_cli.errors import RunError, first_line
from transfer_cli.files import UNFINISHED, file_sha256, fsync_directory
from transfer_cli.models.tensors import write_tensors


class Owner(Protocol):
    """Something that a state must bring back."""

    def state(self) -> Part:
        """All that `restore` needs."""
        ...

    def restore(self, part: Part) -> None:
        """Be exactly what gave `part`; what was made from it has nothing left to do."""
        ...


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


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
