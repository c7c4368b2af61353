"""The files of a saved state: which there are, which can be trusted, what is in them, and which are no longer needed.

A state is `checkpoints/state-<sequence>/` with `state.json`, a safetensors file for each part that has tensors and,
written last, a manifest of their sha256. Those whose manifest verifies are valid, and the newest of these wins.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from transfer_cli.errors import UserError
from transfer_cli.files import UNFINISHED, file_sha256, parsed_json

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


@dataclass(frozen=True)
class State:
    """One saved state: its parts by the names of their owners."""

    path: Path
    parts: dict[str, Part]


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
