"""What a source expects in `dataset.path`, said once: for the check before a run starts, and for the source itself."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transfer_cli.config.schema import Dataset
from transfer_cli.errors import UserError, did_you_mean
from transfer_cli.files import like, names_in


@dataclass(frozen=True)
class ExpectedPath:
    """What `dataset.path` must be."""

    what: str
    """In a few words, for messages: "folder of images"."""
    kind: Literal["folder", "file", "any"] = "folder"
    pattern: bool = False
    """Whether a pattern such as data/*.tar is allowed."""
    hub: bool = False
    """Whether `dataset.hub` can be set in its place."""
    download: bool = False
    """Whether dataset.download=true makes the folder and fetches the set into it."""


def path_problem(dataset: Dataset, expected: ExpectedPath | None) -> str | None:
    """Why `dataset.path` cannot work for a source that expects this, None being no files at all; or None."""
    name, path = dataset.name, dataset.path
    if expected is None:
        if not path:
            return None
        return (
            f"dataset.path={path}: dataset={name} reads no files. Say dataset=folder for your own images, or leave "
            "dataset.path out."
        )
    if expected.hub and bool(path) == bool(dataset.hub):
        return (
            f"dataset.path, dataset.hub: dataset={name} needs one of them, dataset.path=<{expected.what}> or "
            "dataset.hub=<name on the hub>."
        )
    if expected.hub and dataset.hub:
        return None
    if not path:
        return f"dataset.path is not set: dataset={name} needs dataset.path=<{expected.what}>."
    if expected.download and dataset.download:
        return None
    expanded = os.path.expanduser(path)
    if expected.pattern and glob.has_magic(expanded) and not os.path.exists(expanded):
        found = any(glob.iglob(expanded, recursive=True))
        return None if found else f"dataset.path={path}: nothing matches this pattern."
    problem = missing("dataset.path", path)
    if problem is not None and expected.download:
        problem += f" dataset.download=true makes it and fetches {name} there."
    return problem or _wrong_kind(path, expected)


def check_path(dataset: Dataset, expected: ExpectedPath) -> Path:
    """`dataset.path` with ~ replaced by the home folder. Raises UserError where it is not what is expected."""
    problem = path_problem(dataset, expected)
    if problem is not None:
        raise UserError(problem)
    return Path(str(dataset.path)).expanduser()


def missing(key: str, path: str, folder: Path | None = None) -> str | None:
    """Says that a path does not exist, and which sibling of its first missing part looks like it; or None.

    Where none does, or `folder` has just that name, what is in there may be meant.
    """
    wanted = Path(path).expanduser()
    if os.path.exists(wanted):
        return None
    first_missing = wanted
    while not os.path.exists(first_missing.parent):
        first_missing = first_missing.parent
    parent = first_missing.parent
    message = f"{key}={path}: no such file or folder."
    prefix = "" if parent == Path() else os.path.join(parent, "")
    hint = did_you_mean(first_missing.name, names_in(parent) - {first_missing.name}, prefix)
    if folder is not None and (not hint or path in names_in(folder)):
        hint = like(path, folder)
    if hint or first_missing == wanted:
        return message + hint
    return f"{message} The nearest existing folder is {parent}."


def _wrong_kind(path: str, expected: ExpectedPath) -> str | None:
    """Says that a folder was expected and something else found, or the other way round; or None."""
    there = Path(path).expanduser()
    found = "folder" if there.is_dir() else "file" if there.is_file() else "special file"
    if expected.kind == found or (expected.kind == "any" and found != "special file"):
        return None
    return f"dataset.path={path}: expected a {expected.what}, found a {found}."
