"""What must not be published by accident: where things lie on this machine, and secrets."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from transfer_cli.config.dotted import dotted
from transfer_cli.records.cards.markdown import code, text

Values = Mapping[str, Any]
_SECRET_KEY = re.compile(r"(^|[._-])(password|passwd|secret|token|api[_-]?key|credentials?)$", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIAL", re.IGNORECASE)
_LEAST = 12
"""Characters of a variable that is looked for: less may be a common word."""
_SECRETS = {
    "an address with a password": r"[a-z][a-z0-9+.-]*://[^/\s:@'\"]+:[^/\s@'\"]+@",
    "an address with a key": r"[?&](?:x-amz-\w+|sig|signature|token|access_token|api_?key|key)=[^&\s'\"]{8,}",
    "an access key": r"\b(?:hf_[A-Za-z0-9]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[opsru]_[A-Za-z0-9]{30,})\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a reference to the environment": r"\$\{oc\.env:",
}
_ELSEWHERE: dict[str, Any] = {
    "cache_dir": "auto",
    "output_dir": "outputs",
    "run": None,
    "input": None,
    "output": None,
    "sweep.folder": None,
}
"""Keys that say where things lie and never what is computed, with what they are by default."""


def local_paths(config: Values, environment: Values) -> list[str]:
    """Absolute paths in the settings and in the command, and those that lead out of its folder, the longest first."""
    found = {one for value in dotted(config).values() for one in _strings(value)}
    for word in _words(environment.get("command"))[1:]:
        value = word.partition("=")[2] or word
        found |= {value, *(part.strip(" '\"") for part in value.strip("[]").split(","))}
    home = str(Path.home())
    places = {one for one in found if _is_local(one)} | ({home} if len(home) > 1 else set())
    return sorted(places, key=lambda path: (-len(path), path))


def _words(command: Any) -> list[str]:
    """Those of a command; none of what is no command."""
    try:
        return shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return []


def _is_local(value: str) -> bool:
    leads_out = os.path.isabs(value) or value.startswith(("~/", "../"))
    # A root alone is in every address.
    return leads_out and value.strip("./~") != "" and "\n" not in value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)


def without_paths(value: Any, paths: Iterable[str]) -> Any:
    """A value with each of these paths, wherever it stands in a text, as its last part alone."""
    if isinstance(value, str):
        for path in paths:
            for written in {path, text(path), code(path).strip("` ")}:
                value = last_part(path).join(re.split(_pattern(path, written), value))
        return value
    if isinstance(value, Mapping):
        return {key: without_paths(one, paths) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one, paths) for one in value]
    return value


def _pattern(path: str, written: str) -> str:
    """What finds a path as it is written; one of a single part, as `/data`, not in a longer one or an address."""
    return (r"(?<![\w.-])" if path.rstrip("/").count("/") == 1 else "") + re.escape(written)


def command_without(command: Any, paths: Iterable[str]) -> Any:
    """A command without these paths: word by word, since a shell's quotes may stand within a path."""
    words = _words(command)
    return shlex.join(without_paths(words, paths)) if words else without_paths(command, paths)


def last_part(path: str) -> str:
    """What is left of a path; of the home directory a tilde."""
    return "~" if path == str(Path.home()) else PurePath(path).name


def without_places(config: Values, paths: Iterable[str]) -> dict[str, Any]:
    """Settings without local paths; those that compute nothing are as if nobody had set them."""
    found: dict[str, Any] = without_paths(config, paths)
    for key, default in _ELSEWHERE.items():
        group, _, name = key.rpartition(".")
        here, before = (one.get(group) if group else one for one in (found, config))
        if isinstance(here, dict) and isinstance(before, Mapping) and here.get(name) != before.get(name):
            here[name] = default
    return found


def secrets_in(written: str, settings: Values | None = None) -> list[str]:
    """What looks like a secret in a text, with its line and never with what it is."""
    found = []
    for what, pattern in _SECRETS.items():
        match = re.search(pattern, written, re.IGNORECASE)
        if match is not None:
            found.append(f"line {written.count(chr(10), 0, match.start()) + 1} has {what}")
    found += [f"{key} is set" for key, value in dotted(settings or {}).items() if value and _SECRET_KEY.search(key)]
    for name, value in sorted(os.environ.items()):
        if _SECRET_VARIABLE.search(name) and len(value) >= _LEAST and value in written:
            found.append(f"it holds the value of the variable {name}")
    return found
