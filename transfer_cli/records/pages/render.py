"""Templates to pages. Whatever comes from data is escaped: markup is text, and so are marks that deceive the eye."""

from __future__ import annotations

import functools
import math
import os
import re
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from transfer_cli.records.text import duration, printable

NOTHING = "–"
_PARTS = re.compile(r"(?<=[._/-])(?=[^._/-])")


def render(template: str, **values: Any) -> str:
    """A page from the template of that name."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "percent": percent,
        "number": number,
        "score": score,
        "seconds": seconds,
        "count": count,
        "to_page": to_page,
        "parted": parted,
    }
    return found


def _shown(value: Any) -> Any:
    """What a template prints: nothing for None, and no character in text from data that is not to be seen."""
    if value is None:
        return NOTHING
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def percent(value: float | None) -> str:
    """`98.14 %`."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.2f} %"


def number(value: float | None) -> str:
    """Four decimals."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.4f}"


def score(value: float | None, name: str) -> str:
    """A score as people write it: shares in percent, losses and the like with four decimals."""
    return percent(value) if name in ("accuracy", "top5_accuracy", "balanced_accuracy") else number(value)


def seconds(value: float | None) -> str:
    """`4.2 s` up to a minute, then as `duration` has it."""
    if value is None:
        return NOTHING
    return f"{value:.1f} s" if value < 60 else duration(value)


def count(value: float | None) -> str:
    """With thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def to_page(path: str) -> str:
    """A relative address of a file whose name may hold anything."""
    return quote(os.fsencode(path))


def parted(name: str) -> Markup:
    """A name that breaks where its parts end, should its line be short."""
    return Markup("<wbr>").join(escape(printable(part)) for part in _PARTS.split(name))
