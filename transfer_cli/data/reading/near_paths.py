"""The file that a path in a table means where the two are not spelt alike: backslashes, blanks, accents taken apart."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote


class PathFinder:
    """Finds files below a folder, and remembers what is in its folders."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._listed: dict[str, list[str]] = {}

    def find(self, path: str) -> str | None:
        """The path of the file that is meant; the path itself where there is such a file, None where there is none."""
        if os.path.isfile(os.path.join(self._folder, path)):
            return path
        slashes = path.replace("\\", "/")
        for other in (slashes, path.strip(), slashes.strip()):
            if other and os.path.isfile(os.path.join(self._folder, other)):
                return other
        return self._walk(slashes, _as_seen)

    def hint(self, path: str) -> str:
        """What a file that may be meant is called, and what differs; "" where none is like it."""
        plain = path.replace("\\", "/").removeprefix("file://")
        if (found := self._walk(plain, lambda name: _as_seen(name).casefold())) is not None:
            return f" (there is {found}; upper and lower case differ)"
        if (found := self._walk(unquote(plain), _as_seen)) is not None:
            return f" (there is {found})"
        name = plain.rsplit("/", 1)[-1].strip()
        if name != plain.strip() and os.path.isfile(os.path.join(self._folder, name)):
            return f" (there is {name}, right beside the table)"
        return ""

    def _walk(self, path: str, key: Callable[[str], str]) -> str | None:
        """The one file whose path is alike under `key`, folder by folder."""
        start = "/" if path.startswith("/") else ""
        parts = [part for part in path.split("/") if part.strip() not in ("", ".")]
        if not parts:
            return None
        for part in parts:
            if part == "..":
                start = os.path.join(start, part)
                continue
            names = [name for name in self._names(start) if key(name) == key(part)]
            names = [part] if part in names else names
            if len(names) != 1:
                return None
            start = os.path.join(start, names[0])
        return start if os.path.isfile(os.path.join(self._folder, start)) else None

    def _names(self, below: str) -> list[str]:
        """What is in a folder; nothing where it cannot be listed."""
        if below not in self._listed:
            try:
                self._listed[below] = os.listdir(os.path.join(self._folder, below) or ".")
            except OSError:
                self._listed[below] = []
        return self._listed[below]


def _as_seen(name: str) -> str:
    """A name as it looks in a list."""
    return unicodedata.normalize("NFC", name).strip()
