"""The descriptions of options and keys: the comments in the YAML files.

The first comment of a file describes the option; a comment directly above a key, or behind its value,
describes the key. Files are read line by line, as `--help` has no time to import a YAML library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.command.source import ConfigSource, options

_KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: +(?P<value>[^#\s].*?))??(?: +# *(?P<comment>.*))?")
_ENVIRONMENT = re.compile(r"\$\{oc\.env:\w+,(.*)\}")
_COPY = re.compile(r" *- +\w+@(?P<name>\w+)\s*")
_BASE = re.compile(r"^ *- +(?!_self_)(\w+)\s*$", re.MULTILINE)
_SECTIONS = ("defaults", "hydra")


@dataclass(frozen=True)
class Key:
    """A key of a file below its group: its value as it is written, and its comment."""

    name: str
    value: str
    comment: str


@dataclass(frozen=True)
class File:
    """One YAML file: what it is, its keys in their order, and the options of its group that it starts from."""

    meaning: str = ""
    keys: tuple[Key, ...] = ()
    bases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Described:
    """A key with what it is, and its value by option, the default option first.

    `values[""]` is the value in the primary configuration; `everywhere`: each option of the group has the key.
    """

    name: str
    comment: str
    values: dict[str, str]
    everywhere: bool = True

    def default(self, option: str = "") -> str:
        """The value in an option; without one, in the primary configuration or the default option."""
        return self.values.get(option, next(iter(self.values.values())))


def read(file: Path, group: str = "") -> File:
    """A file's comments. Of a file that sets keys of several groups, those below `group`."""
    text = file.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    meaning = lines[0].lstrip("# ").strip() if lines and lines[0].startswith("#") else ""
    keys = _keys(lines)
    if "# @package _global_" in text:
        below = [key for key in keys if key.name.startswith(f"{group}.")]
        keys = [Key(key.name.removeprefix(f"{group}."), key.value, key.comment) for key in below]
    # `name` repeats the name of the option.
    return File(meaning, tuple(key for key in keys if key.name != "name" or not group), tuple(_BASE.findall(text)))


def _keys(lines: list[str]) -> list[Key]:
    """Every key with a scalar or list for its value, dotted, with the comment above or behind it."""
    keys: list[Key] = []
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    in_header = True
    for line in lines:
        text = line.strip()
        if text.startswith("#"):
            above += [] if in_header else [text.lstrip("# ")]
            continue
        in_header = False
        comment, above = " ".join(above), []
        copied, found = _COPY.fullmatch(line), _KEY.fullmatch(line)
        if copied:
            keys.append(Key(f"{copied['name']}.<key>", "", comment))
        if not found:
            continue
        parents = [(indent, name) for indent, name in parents if indent < len(found["indent"])]
        dotted = ".".join([*(name for _, name in parents), found["name"]])
        if found["value"] is None:
            parents.append((len(found["indent"]), found["name"]))
        elif dotted.split(".")[0] not in _SECTIONS:
            value = _ENVIRONMENT.sub(r"\1", found["value"].strip())
            keys.append(Key(dotted, value, comment or (found["comment"] or "")))
    return keys


def default_options(source: ConfigSource) -> dict[str, str]:
    """The option of each group that counts where none is chosen, as the primary configuration lists them."""
    text = (source.path / f"{source.name}.yaml").read_text(encoding="utf-8", errors="replace")
    return dict(re.findall(r"^ +- (\w+): (\w+)$", text, re.MULTILINE))


def described(source: ConfigSource) -> dict[str, list[Described]]:
    """The keys of each group, dotted and whole, by their files; under "" those that belong to no group."""
    primary = read(source.path / f"{source.name}.yaml")
    groups = options(source)
    result: dict[str, list[Described]] = {"": []}
    for key in primary.keys:
        group = key.name.split(".")[0]
        result.setdefault(group if group in groups else "", []).append(
            Described(key.name, key.comment, {"": key.value})
        )
    for group, names in groups.items():
        shared = {row.name: row for row in result.get(group, [])}
        rows = _of_options(source, group, names)
        for row in rows:
            if row.name in shared and not row.comment:
                shared[row.name].values.update(row.values)
        result[group] = [*shared.values(), *(row for row in rows if row.comment or row.name not in shared)]
    return result


def _of_options(source: ConfigSource, group: str, names: list[str]) -> list[Described]:
    """What the option files describe: a row for each key and comment. A key without one has that of the first file."""
    first = default_options(source).get(group)
    ordered = sorted(names, key=lambda name: (name != first, name))
    files = {name: _with_bases(source, group, name) for name in ordered}
    comments: dict[str, str] = {}
    for key in (key for keys in files.values() for key in keys if key.comment):
        comments.setdefault(key.name, key.comment)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for name, keys in files.items():
        for key in keys:
            rows.setdefault((key.name, key.comment or comments.get(key.name, "")), {})[name] = key.value
    order = list(dict.fromkeys(key for key, _ in rows))
    return [
        Described(f"{group}.{key}", comment, having, len(having) == len(files))
        for (key, comment), having in sorted(rows.items(), key=lambda row: order.index(row[0][0]))
    ]


def _with_bases(source: ConfigSource, group: str, name: str) -> list[Key]:
    """The keys of an option, those that it takes from others of its group first."""
    file = option_file(source, group, name)
    keys = {key.name: key for base in file.bases for key in _with_bases(source, group, base)}
    for key in file.keys:
        before = keys.get(key.name, key)
        keys[key.name] = Key(key.name, key.value, key.comment or before.comment)
    return list(keys.values())


def option_file(source: ConfigSource, group: str, name: str) -> File:
    """The file of an option, the user's own before ours."""
    for folder in reversed(source.group_folders()):
        file = folder / group / f"{name}.yaml"
        if file.is_file():
            return read(file, group)
    return File()
