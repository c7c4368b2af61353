"""What the libraries publish for a model, remembered: to ask them is to import them, which takes seconds."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer_cli.files import write_json
from transfer_cli.models import fetching
from transfer_cli.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from transfer_cli.models.published import WeightsSource


@dataclass
class Known:
    """Answers of torchvision and timm, a file each. What a run has learnt is written by `keep`, once it has begun."""

    folder: Path
    _learnt: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def ask(self, name: str, source: str, weights: str | None, look_up: Callable[[], WeightsSource]) -> WeightsSource:
        """What `look_up` says, or said before with the same versions of the libraries."""
        versions = {package: metadata.version(package) for package in ("torchvision", "timm", "transfer-run")}
        key = {"name": name, "source": source, "weights": weights, **versions}
        file = self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
        try:
            return _from_plain(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            found = look_up()
        self._learnt[file] = {**_to_plain(found), "asked": key}
        return found

    def keep(self) -> None:
        """Write what was learnt. A memory that cannot be written costs the question again, nothing else."""
        with contextlib.suppress(OSError):
            for file, values in self._learnt.items():
                self.folder.mkdir(parents=True, exist_ok=True)
                write_json(file, values)


def _to_plain(source: WeightsSource) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "label": source.label,
        "preprocessing": source.preprocessing.to_dict(),
        "remote": asdict(source.remote) if source.remote else None,
        "classes": list(source.classes) if source.classes else None,
    }


def _from_plain(values: dict[str, Any]) -> WeightsSource:
    from transfer_cli.models.published import WeightsSource

    remote = fetching.Remote(**values["remote"]) if values["remote"] else None
    return WeightsSource(
        str(values["kind"]),
        str(values["label"]),
        Preprocessing.from_dict(values["preprocessing"]),
        # Whether the file has come meanwhile is asked anew each time.
        fetching.cached(remote) if remote else None,
        remote,
        tuple(str(name) for name in values["classes"]) if values["classes"] else None,
    )
