"""Text in a user's YAML that YAML itself takes for a number, and would write out in another way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer_cli.command.recipe_header import has_header
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_text(source: ConfigSource, composed: DictConfig) -> None:
    """Raises UserError for a name or a path that is no longer what its file has; `composed` has the `hydra` node."""
    if source.is_ours():
        return
    problems = [problem for file, group in _files(source, composed) for problem in _problems(file, group)]
    if problems:
        raise UserError("\n".join(problems))


def check_encoding(source: ConfigSource) -> None:
    """Raises UserError for files of the user's that are not UTF-8, as some editors and shells write them."""
    folders = source.own_folders()
    problems = []
    for file in sorted(file for folder in folders for file in (*folder.glob("*.yaml"), *folder.glob("*/*.yaml"))):
        data = file.read_bytes()
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            problems.append(f"{file}, line {line}: not UTF-8 text; save the file as UTF-8.")
    if problems:
        raise UserError("\n".join(problems))


def _files(source: ConfigSource, composed: DictConfig) -> Iterator[tuple[Path, str]]:
    """The user's files that the composition has read, each with the group it is an option of."""
    folders = source.own_folders()
    if source.path != conf_dir():
        yield source.path / f"{source.name}.yaml", ""
    for group, option in composed.hydra.runtime.choices.items():
        for folder in folders:
            file = folder / str(group) / f"{option}.yaml"
            if "/" not in str(group) and file.is_file():
                yield file, "" if has_header(file) else str(group)


def _problems(file: Path, prefix: str) -> list[str]:
    from omegaconf._utils import get_yaml_loader

    with file.open(encoding="utf-8") as text:
        loader = get_yaml_loader()(text)
        numbers = [
            (key, node, loader.construct_object(node))
            for key, node in _scalars(loader.get_single_node(), prefix)
            if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        ]
    return [
        f"{file}, line {node.start_mark.line + 1}: {key}: YAML takes {node.value} for the number {value}; write "
        f'"{node.value}", in quotes.'
        for key, node, value in numbers
        if str(value) != node.value
    ]


def _scalars(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Single values of keys that hold text, each with its dotted key."""
    import yaml

    from transfer_cli.config.text_keys import is_text

    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(value, f"{key}.{name.value}" if key else str(name.value))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item, key)
    elif isinstance(node, yaml.ScalarNode) and key and is_text(key):
        yield key, node
