"""One class, spelt in several ways: what is plainly meant is taken so and said, what may be meant is warned of."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from transfer_cli.data.reading.listing import few

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_TYPED = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | dict.fromkeys("\u2018\u2019", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"')
)
"""Dashes and quotes that word processors put in the place of those on the keyboard."""
_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)e[+-]?\d{1,2}", re.ASCII | re.IGNORECASE)
_HEX = re.compile(r"0x[\da-f]{1,15}", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{0,30})?", re.ASCII)
_NOTHING = frozenset({"nan", "<na>", "na", "n/a", "#n/a", "nat", "null", "none", "nil", "?", "-", "undefined"})


def tidy(text: str) -> str:
    """`text` as it looks: composed (NFC), without invisible marks and quotes around it, one blank between words."""
    text = " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", text)).split())
    quoted = len(text) > 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if quoted else text


def number(text: str) -> str | None:
    """The shortest way to write a number: 1 for 1.0 and 01; None for what is none."""
    if not _NUMBER.fullmatch(text):
        return None
    short = format(Decimal(text).normalize(), "f")
    return "0" if short == "-0" else short


def missing_numbers(names: Sequence[str]) -> list[int]:
    """Which labels are words for nothing (nan, null) where all others are numbers."""
    found = set(names)
    words = {name for name in found if tidy(name).lower() in _NOTHING}
    others = found - words
    if not words or not others or any(number(name) is None for name in others):
        return []
    return [index for index, name in enumerate(names) if name in words]


def one_spelling(where: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The class name of each label, spelt in one way, and notes on what was taken for one or looks like nothing.

    Labels spelt in one way alone keep it. Numbers are taken for one where all labels are numbers.
    """
    found = dict.fromkeys(names)
    chosen, notes = _merged({name: name for name in found}, tidy), []
    if all(number(name) is not None for name in chosen.values()):
        chosen = _merged(chosen, lambda name: number(name) or name, all_or_none=True)
    ways: dict[str, list[str]] = defaultdict(list)
    for name, spelling in chosen.items():
        ways[spelling].append(name)
    alike = [f"{few([*map(repr, spellings)])} are {name}" for name, spellings in ways.items() if len(spellings) > 1]
    if alike:
        notes.append(f"{where}: labels that are spelt in several ways are taken for one class: {few(alike)}.")
    nothing = sorted(name for name in ways if name.lower() in _NOTHING)
    if nothing:
        notes.append(f"{where}: {few(nothing)} is kept as a class; leave these images out if they have no label.")
    return [chosen[name] for name in names], notes


def look_alike(classes: Iterable[str]) -> list[list[str]]:
    """Groups of classes that differ in case, blanks, the encoding of accents or the writing of numbers alone."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[_plain(name)].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _plain(name: str) -> str:
    """A name as one would type it: one kind of dash and quote, no ligatures and no wide digits, numbers in short."""
    plain = tidy(unicodedata.normalize("NFKC", name).translate(_TYPED))
    if _HEX.fullmatch(plain):
        return str(int(plain, 16))
    if _EXPONENT.fullmatch(plain):
        plain = format(Decimal(plain), "f")
    return number(plain) or plain.casefold()


def _merged(chosen: dict[str, str], key: Callable[[str], str], all_or_none: bool = False) -> dict[str, str]:
    """`chosen` where spellings of one key become that key; those without another keep theirs, unless `all_or_none`."""
    groups: dict[str, set[str]] = defaultdict(set)
    for spelling in chosen.values():
        groups[key(spelling)].add(spelling)
    several = any(len(group) > 1 for group in groups.values())
    merged = {}
    for name, spelling in chosen.items():
        common = key(spelling)
        merged[name] = common if len(groups[common]) > 1 or (several and all_or_none) else spelling
    return merged
