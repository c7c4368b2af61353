"""Text that Hydra would not take as it is, quoted for its grammar.

That is conditions, and what reads like a number, such as `name=2024_01_15` or `dataset.path=3.10`: without quotes Hydra
makes a number of it, and writes that number out in its own way: 20240115 and 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transfer_cli.command.source import RECIPES

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

LIKE_NUMBERS = ("INT", "FLOAT", "BOOL")
WITH_SIGNS = ("report.where", "script.sbatch")
"""Keys whose values hold signs that are no part of Hydra's grammar: conditions, and options for Slurm."""
_OPENING = {"BRACE_OPEN": "BRACE_CLOSE", "BRACKET_OPEN": "BRACKET_CLOSE", "POPEN": "PCLOSE"}
_FUNCTIONS = ("choice", "shuffle", "tag")


def as_typed(override: Override) -> str:
    """The argument, with quotes around what its key takes as text and Hydra would take for something else."""
    from transfer_cli.config.text_keys import is_text

    argument = override.input_line or ""
    key = override.key_or_group.replace("/", ".")
    _, equals, _ = argument.partition("=")
    if not equals or key.split(".")[0] == "hydra":
        return argument
    tokens = _tokens(argument)
    alone = [
        token
        for token in _values(tokens, key)
        if token.kind in LIKE_NUMBERS and (is_text(token.key) or _names_option(token, key))
    ]
    for token in reversed(alone):
        argument = f"{argument[: token.start]}'{token.text}'{argument[token.stop + 1 :]}"
    return argument


def with_signs_quoted(argument: str) -> str:
    """The argument, in quotes where its key is one of `WITH_SIGNS`."""
    key, _, value = argument.partition("=")
    if key.lstrip("+") not in WITH_SIGNS or value in ("", "null") or value[0] in "'\"":
        return argument
    escaped = value.replace("'", "\\'")
    return f"{key}='{escaped}'"


class _Token:
    """A piece of the argument; `key` is what it is a value of."""

    def __init__(self, kind: str, token: Any) -> None:
        self.kind, self.text, self.key = kind, token.text, ""
        self.start, self.stop = token.start, token.stop


def _tokens(argument: str) -> list[_Token]:
    from antlr4 import InputStream  # type: ignore[import-untyped]
    from hydra.grammar.gen.OverrideLexer import OverrideLexer

    lexer = OverrideLexer(InputStream(argument))
    return [_Token(lexer.symbolicNames[token.type], token) for token in lexer.getAllTokens()]


def _values(tokens: list[_Token], key: str) -> list[_Token]:
    """Tokens that are a whole value, each with its dotted key: alone between separators, and no key of a mapping."""
    start = next(position for position, token in enumerate(tokens) if token.kind == "EQUAL") + 1
    # The keys of open mappings, and whether what is open is a mapping.
    keys, opened, found = [key], [False], []
    for position in range(start, len(tokens)):
        token, before = tokens[position], tokens[position - 1]
        after = tokens[position + 1].kind if position + 1 < len(tokens) else "COMMA"
        if token.kind in _OPENING:
            if token.kind == "POPEN" and before.text not in _FUNCTIONS:
                # A cast or a range: numbers are meant.
                return []
            keys.append(keys[-1])
            opened.append(token.kind == "BRACE_OPEN")
        elif token.kind in _OPENING.values():
            keys.pop()
            opened.pop()
        elif after == "COLON" and opened[-1] and before.kind in ("BRACE_OPEN", "COMMA"):
            keys[-1] = f"{keys[-2]}.{token.text}"
        elif _ends(after) and (before.kind in ("EQUAL", "COMMA", *_OPENING) or (before.kind == "COLON" and opened[-1])):
            token.key = keys[-1]
            found.append(token)
    return found


def _names_option(token: _Token, key: str) -> bool:
    """Whether a value of a whole group is the name of an option: `experiment=3.10`."""
    from transfer_cli.config.text_keys import is_group

    return token.key == key and (key == RECIPES or is_group(key))


def _ends(kind: str) -> bool:
    return kind == "COMMA" or kind in _OPENING.values()
