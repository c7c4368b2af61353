"""The reference section of README.md, made from the comments of the YAML files.

`python -m transfer_cli.command.reference README.md` writes it anew.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from transfer_cli.command.described import Described, default_options, described
from transfer_cli.command.help import GROUPS
from transfer_cli.command.source import ConfigSource, conf_dir, options
from transfer_cli.config.modes import MODES

HEADING = "## Reference"
_INTRODUCTION = """Every option and key, from the comments in `conf/`; `make reference` writes this section anew.
`transfer-run --help <group>` says what each option is."""
_WIDTH = 120
_FEW = 7


def reference(source: ConfigSource) -> str:
    """The section in Markdown, its heading included."""
    rows, firsts = described(source), default_options(source)
    modes = [f"| `{name}` | {mode.does} |" for name, mode in MODES.items()]
    parts = [HEADING, "", _INTRODUCTION, "", "| mode | what it does |", "| --- | --- |", *modes, "", *_table(rows[""])]
    groups = options(source)
    for group in sorted(groups, key=[*GROUPS].index):
        names = sorted(groups[group], key=lambda name: name != firsts.get(group))
        shown = [f"`{name}`" + " (the default)" * (name == firsts.get(group)) for name in names]
        text = f"{GROUPS[group].capitalize()}: {', '.join(shown)}."
        parts += ["", f"### {group}", "", *textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]
        if rows[group]:
            parts += ["", *_table(rows[group])]
    return "\n".join(parts) + "\n"


def _table(rows: list[Described]) -> list[str]:
    """A table of keys, with a column of options where not every option has every key."""
    by_option = any(not row.everywhere for row in rows)
    heads = ["key", *(["option"] if by_option else []), "default", "what"]
    table = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for row in rows:
        having = "all" if row.everywhere else ", ".join(row.values) if len(row.values) <= _FEW else "most"
        cells = [f"`{row.name}`", *([having] if by_option else []), _default(row), row.comment.replace("<", "\\<")]
        table.append(f"| {' | '.join(cells)} |")
    return table


def _default(row: Described) -> str:
    values = list(dict.fromkeys(row.values.values()))
    if values[0] in ("", "???"):
        return ""
    return f"`{values[0]}`" + (", by option" if len(values) > 1 else "")


def with_reference(readme: str, section: str) -> str:
    """A README's text with this section in place of the one it has."""
    return re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", lambda _: f"{section}\n", readme, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    section = reference(ConfigSource(conf_dir(), "config", None))
    file.write_text(with_reference(file.read_text(encoding="utf-8"), section), encoding="utf-8")
