"""What has been measured: a JSON line a run, appended as it ends, so that the same command goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """One run. Accuracies are shares, 0 to 1; None where the run failed."""

    key: str
    """Of all that determines it: see `key_of`."""
    model: str
    set: str
    held_back: bool
    data: str
    seed: int
    method: str
    setting: str
    """The words of ours; of a peer its own settings."""
    val: float | None
    test: float | None
    seconds: float
    commit: str
    code: str
    """Of the files that ran: ours, or the peer's module; see `code_of`."""
    device: str


@dataclass
class Results:
    """The lines of results.jsonl."""

    file: Path
    found: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Results:
        """What is there; a last line that was cut short by a kill is left out."""
        results = cls(file)
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
            try:
                result = Result(**json.loads(line))
            except (ValueError, TypeError):
                continue
            results.found[result.key] = result
        return results

    def add(self, result: Result) -> None:
        """Keep it, on disk as well."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # After a kill in the middle of a line the next one must not be joined to it.
        cut_short = self.file.is_file() and not self.file.read_bytes().endswith(b"\n") and self.file.stat().st_size > 0
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(("\n" if cut_short else "") + json.dumps(asdict(result)) + "\n")
        self.found[result.key] = result


def code_of(files: Iterable[Path]) -> str:
    """Short name of what files say."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def key_of(facts: Mapping[str, Any]) -> str:
    """Short name of what determines a result."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
