"""Files in which a measurement is remembered: one for what was measured, with its checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from transfer_cli.files import write_signed_json


def file_of(folder: Path, key: dict[str, Any]) -> Path:
    """Where a measurement of this key is."""
    return folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"


def remember(file: Path, content: dict[str, Any]) -> None:
    """For the next time. What cannot be written costs a measurement then, nothing else."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_signed_json(file, content)
    except OSError:
        pass
