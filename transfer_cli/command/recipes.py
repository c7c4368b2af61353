"""One command under several recipes: `experiment=<recipe>` composed with the words of the command for each.

What the command says holds for all of them; what makes a recipe's method (its strategy, and whether its weights are
random) stays its own; images, their size, seed and the length of training are those of the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.overrides import Overrides, parse_overrides
from transfer_cli.command.source import RECIPES, ConfigSource, options
from transfer_cli.errors import UserError, unknown

STRATEGY = "strategy"


@dataclass(frozen=True)
class Recipe:
    """A recipe under a command: the composed values, and the words of the command that it does not follow."""

    name: str
    values: dict[str, Any]
    unread: tuple[str, ...]


def under_recipes(
    source: ConfigSource, overrides: Overrides, strategy: str, names: Sequence[str], key: str
) -> list[Recipe]:
    """The command, whose own strategy is `strategy`, under each recipe of `names`.

    Raises UserError naming `key` for a recipe that does not exist.
    """
    known = options(source).get(RECIPES, [])
    for name in names:
        if name not in known:
            raise unknown(key, name, known)
    chosen = overrides.of(RECIPES)
    if chosen:
        raise UserError(f"{chosen[0]}: several recipes are compared here; name them in {key}.")
    choices = [word for word in overrides.of(STRATEGY) if _key(word) == STRATEGY and "{" not in word]
    plain = _without(overrides, overrides.of(STRATEGY))
    shared = _composed(source, plain)
    return [
        _under_recipe(source, overrides, _Words(strategy, plain, _without(overrides, choices)), shared, name)
        for name in names
    ]


@dataclass(frozen=True)
class _Words:
    """The words of a command that recipes share, and those that only recipes of its own strategy take as well."""

    strategy: str
    plain: list[str]
    all: list[str]


def _under_recipe(
    source: ConfigSource, overrides: Overrides, words: _Words, shared: dict[str, Any], name: str
) -> Recipe:
    chosen, own = f"{RECIPES}={name}", _written(source, name)
    values = _composed(source, [*words.plain, chosen])
    strategy = values["strategy"]["name"]
    unread = [word for word in words.all if word not in words.plain]
    if unread and strategy == words.strategy:
        values = _composed(source, [*words.all, chosen])
        unread = overrides.of(*_leaves(own.get(STRATEGY, {}), STRATEGY))
    values[STRATEGY] = _merged(values[STRATEGY], own.get(STRATEGY, {}))
    if "weights" in own.get("model", {}):
        values["model"]["weights"] = own["model"]["weights"]
    # Heads on stored features take epochs of their own: thousands of rows a step, in no time.
    shown = ["image_size", "image_fit", "crop_fraction"]
    same = ["dataset", *shown, "seed", *([] if strategy == "extract" else ["trainer"])]
    return Recipe(name, {**values, **{key: shared[key] for key in same}}, tuple(unread))


def _without(overrides: Overrides, words: Sequence[str]) -> list[str]:
    return [word for word in overrides.arguments if word not in words]


def _composed(source: ConfigSource, words: list[str]) -> dict[str, Any]:
    return to_plain(compose(source, parse_overrides(words)))


def _written(source: ConfigSource, name: str) -> dict[str, Any]:
    """What the file of a recipe says itself, the user's own before ours."""
    import yaml

    for folder in reversed(source.group_folders()):
        file = folder / RECIPES / f"{name}.yaml"
        if file.is_file():
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
    return {}


def _key(word: str) -> str:
    """The dotted key of a word, without Hydra's prefixes."""
    return word.split("=")[0].lstrip("+~")


def _leaves(values: dict[str, Any], prefix: str) -> set[str]:
    keys: set[str] = set()
    for name, value in values.items():
        key = f"{prefix}.{name}"
        keys |= _leaves(value, key) if isinstance(value, dict) else {key}
    return keys


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result
