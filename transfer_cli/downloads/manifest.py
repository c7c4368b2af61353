"""What an archive that is carried over holds, and what a mirror has: names, sizes and hashes, in one JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from transfer_cli.downloads.digest import Digest
from transfer_cli.files import parsed_json

MANIFEST = "manifest.json"
FORMAT = 1
MOST_BYTES = 2**26
"""Of a manifest: about 250,000 files."""
_SETS = "datasets"
_KINDS = ("file", "hub", "dataset")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Entry:
    """One file. `kind`: file (weights with an address), hub (of a model hub's repository), dataset."""

    kind: str
    name: str
    """Relative, with slashes: `<file>`, `<owner>/<repository>/<file>` or `datasets/<set>/<path>`."""
    bytes: int
    sha256: str
    commit: str | None = None
    """Of a hub's repository: the version of it that the file is of."""
    etag: str | None = None
    """What the hub calls the content of the file."""
    model: str | None = None
    """Whose weights it is, for people."""

    def problem(self) -> str | None:
        """Why this cannot be an entry; None where it can."""
        if self.kind not in _KINDS or not isinstance(self.name, str) or not _is_safe(self.name):
            return f"{str(self.name)[:100]!r} is no name of a file in it"
        if self.model is not None and not (isinstance(self.model, str) and len(self.model) <= _LONGEST_NAME):
            return f"{self.name} is of no model"
        if type(self.bytes) is not int or not 0 <= self.bytes < 2**50 or not _fits(_SHA256, self.sha256):
            return f"{self.name} has no size or hash"
        own = Digest.in_name(self.name) if self.kind == "file" else None
        if own is not None and not self.sha256.startswith(own.digits):
            return f"{self.name} has another hash than its name says"
        if self.kind == "hub" and not (_fits(_COMMIT, self.commit) and _fits(_ETAG, self.etag)):
            return f"{self.name} has no version"
        if self.kind == "hub" and len(str(self.etag)) == len(self.sha256) and self.etag != self.sha256:
            return f"{self.name} has another hash than the hub's"
        parts = {"file": (1, 1), "hub": (3, 20), "dataset": (3, 100)}[self.kind]
        placed = (self.kind == "dataset") == (self.name.split("/")[0] == _SETS)
        count = len(self.name.split("/"))
        return None if placed and parts[0] <= count <= parts[1] else f"{self.name} is in no place of its kind"

    @property
    def repository(self) -> str:
        """Of a hub's file."""
        return "/".join(self.name.split("/")[:2])

    @property
    def file(self) -> str:
        """The file's name, in its repository, in its data set, or alone."""
        return "/".join(self.name.split("/")[{"file": 0, "hub": 2, "dataset": 2}[self.kind] :])

    @property
    def dataset(self) -> str:
        """The data set that the file is of."""
        return self.name.split("/")[1]


def set_name(dataset: str, path: str) -> str:
    """The name of a file of a data set."""
    return f"{_SETS}/{dataset}/{path}"


def to_json(entries: Iterable[Entry]) -> bytes:
    """The manifest of some files."""
    files = [{key: value for key, value in asdict(entry).items() if value is not None} for entry in entries]
    return (json.dumps({"format": FORMAT, "files": files}, indent=1, ensure_ascii=True) + "\n").encode()


def from_json(content: bytes) -> list[Entry]:
    """The entries of a manifest. Raises ValueError, saying what is wrong, for anything that is none."""
    try:
        values: Any = parsed_json(content)
    except ValueError as error:
        raise ValueError(f"its {MANIFEST} is no JSON") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT or not isinstance(values.get("files"), list):
        raise ValueError(f"its {MANIFEST} is none of format {FORMAT}")
    entries = []
    for value in values["files"]:
        known = isinstance(value, dict) and {"kind", "name", "bytes", "sha256"} <= {*value} <= {*Entry.__annotations__}
        if not known:
            raise ValueError(f"its {MANIFEST} has an entry with other keys than those of a file")
        entry = Entry(**value)
        problem = entry.problem()
        if problem is not None:
            raise ValueError(problem)
        entries.append(entry)
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError(f"its {MANIFEST} names a file twice")
    return entries


def _is_safe(name: str) -> bool:
    """Whether a name stays below whatever folder it is put in, on any system, and is none that is hidden there."""
    pure = PurePosixPath(name)
    odd = any(ord(c) < 32 or c in "\\:" or 0xD800 <= ord(c) < 0xE000 for c in name)
    plain = str(pure) == name and not pure.is_absolute() and not any(part.startswith(".") for part in pure.parts)
    return bool(pure.parts) and plain and not odd and len(name) <= _LONGEST_NAME and name != MANIFEST


def _fits(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
