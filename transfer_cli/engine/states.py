"""Resumable states: directories written whole or not at all, the newest valid one wins.

A state is `checkpoints/state-<sequence>/` with safetensors and JSON files and, written last, a manifest of their
sha256. It appears by one rename; a kill at any moment leaves either the old states or the old and the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from transfer_cli.files import fsync_directory

MANIFEST = "manifest.json"
KEEP = 2

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class State:
    """One saved state: named groups of tensors, and plain values."""

    path: Path
    tensors: dict[str, Tensors]
    values: dict[str, Any]


def next_name(folder: Path) -> str:
    """The name of the next state to be saved in `folder`."""
    return f"state-{1 + max((int(path.name.removeprefix('state-')) for path in folder.glob('state-*')), default=0):06d}"


def save_state(folder: Path, name: str, tensors: dict[str, Tensors], values: dict[str, Any]) -> None:
    """Write a new state atomically. Raises OSError, leaving nothing half written."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    temporary = folder / f".writing-{path.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, group in tensors.items():
            save_file(
                {key: tensor.detach().contiguous().cpu() for key, tensor in group.items()},
                temporary / f"{name}.safetensors",
            )
        (temporary / "state.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        hashes = {file.name: _sha256(file) for file in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
        for file in temporary.iterdir():
            _fsync(file)
        fsync_directory(temporary)
        temporary.rename(path)
        fsync_directory(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def newest_valid(folder: Path) -> tuple[State | None, list[str]]:
    """The newest state whose manifest verifies, and a warning for each newer one that does not."""
    warnings: list[str] = []
    for path in sorted(folder.glob("state-*"), reverse=True):
        problem = damage(path)
        if problem is None:
            return _load(path), warnings
        warnings.append(f"{path}: {problem}; going back to the state before it")
    return None, warnings


def damage(path: Path) -> str | None:
    """Why a state cannot be trusted, or None."""
    try:
        hashes = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, expected in hashes.items():
            if _sha256(path / Path(name).name) != expected:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, AttributeError) as error:
        return f"incomplete or unreadable ({type(error).__name__})"
    return None


def load_weights(path: Path) -> Tensors:
    """The model tensors of a state: their average where one was kept, since that is what was evaluated."""
    average = path / "average.safetensors"
    return load_file(average if average.is_file() else path / "model.safetensors")


def prune(folder: Path) -> None:
    """Delete all but the newest states and those whose weights these call best, and what a kill left half written."""
    states = sorted(folder.glob("state-*"))
    keep = {path.name for path in states[-KEEP:]}
    keep |= {best for path in states[-KEEP:] if (best := _best_of(path))}
    for path in [*states, *folder.glob(".writing-*")]:
        if path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _best_of(path: Path) -> str | None:
    """The state that holds the best weights as of this one."""
    try:
        best = json.loads((path / "state.json").read_text(encoding="utf-8"))["best"]
        return str(best["state"]) if best else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load(path: Path) -> State:
    try:
        tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error
    return State(path, tensors, json.loads((path / "state.json").read_text(encoding="utf-8")))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
