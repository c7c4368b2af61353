"""YAML, looked at before anything is made of it: a few lines of references can stand for billions of values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

_MOST_VALUES = 20_000
"""As many as references may make of fewer."""


def loaded_yaml(text: str) -> Any:
    """What YAML says. Raises ValueError for what is none, is nested too deeply, or grows out of all proportion."""
    import yaml

    try:
        check_references(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def check_references(text: str) -> None:
    """Raises ValueError where references (&name, *name) stand for themselves, or for more than anyone would write.

    Raises yaml.YAMLError and RecursionError for what cannot be read.
    """
    if "&" not in text or "*" not in text:
        return
    import yaml

    for document in yaml.compose_all(text, yaml.SafeLoader):
        if _values(document, {}) > _MOST_VALUES + len(text):
            raise ValueError(f"its references (&name, *name) stand for more than {_MOST_VALUES:,} values")


def check_file(path: Path) -> None:
    """Raises ValueError for a file of YAML that would make whoever reads it wait, or take all memory.

    Whatever else is wrong with it is found where it is read.
    """
    import yaml

    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("a pipe or device, no file")
    try:
        check_references(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return


def _values(node: yaml.Node | None, known: dict[int, int | None]) -> int:
    """The values of a node, with those that it refers to."""
    import yaml

    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ValueError("a reference (*name) stands for what it is in")
        return size
    known[id(node)] = None
    inner = node.value if isinstance(node, yaml.SequenceNode) else [item for pair in node.value for item in pair]
    size = 1 + sum(_values(one, known) for one in inner)
    known[id(node)] = size
    return size
