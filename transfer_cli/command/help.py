"""The text of `transfer-run --help`: made from the comments of the YAML files, without importing Hydra or torch."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from transfer_cli.command.described import Described, default_options, described, option_file
from transfer_cli.command.source import ConfigSource, options
from transfer_cli.config.modes import MODES
from transfer_cli.errors import UserError, did_you_mean

GROUPS = {
    "model": "the pretrained backbone",
    "dataset": "the images and how they are split",
    "strategy": "what is trained, and against which loss",
    "optimizer": "how weights move",
    "scheduler": "the learning rate at each step",
    "augment": "how training images vary",
    "trainer": "how long, how much at once, on what",
    "experiment": "whole recipes that set several groups at once",
}

USUAL = {
    "What is trained on what": (
        *("model.name", "model.weights", "image_size", "dataset.path", "dataset.shots", "dataset.on_bad"),
        *("strategy.unfreeze", "strategy.solver", "strategy.teacher.weights", "augment.views"),
    ),
    "How": (
        *("optimizer.lr", "optimizer.weight_decay", "scheduler.warmup", "trainer.epochs", "trainer.batch_size"),
        *("trainer.patience", "trainer.metric", "trainer.device", "trainer.precision", "seed"),
    ),
    "Where it goes, and what is used": (
        *("name", "resume", "output_dir", "cache_dir", "cache_size"),
        *("run", "input", "output", "format", "split", "quiet"),
    ),
}
"""The keys that people reach for, most used first; the page of each group has all of its keys."""

EXAMPLES = [
    ("the default experiment, offline", "transfer-run"),
    ("a head on your own folders of images", "transfer-run dataset=folder dataset.path=photos strategy.unfreeze=head"),
    (
        "a sweep; hydra/sweeper=search searches, hydra/launcher=joblib runs jobs side by side",
        "transfer-run -m optimizer.lr=1e-3,1e-4 seed=0,1,2",
    ),
    ("survive a kill: the same command goes on", "transfer-run name=flowers resume=auto trainer.epochs=20"),
    ("use what was trained", "transfer-run mode=predict run=outputs/runs/flowers input=photos/new"),
]

_COMMAND = 52

FLAGS = {
    "--help GROUP": "what its options and keys are, as in --help strategy=distill; --help all: of all, and of modes",
    "-m, --multirun": "sweep over comma-separated values",
    "--cfg job": "print the composed configuration and stop",
    "--config-dir DIR": "add your own YAML options (DIR/model/mine.yaml: model=mine)",
    "--config-path DIR": "run from another configuration, such as a run directory",
    "--completion SHELL": "print completion for bash, zsh or fish",
    "--info, --hydra-help": "Hydra's own, as is --shell-completion",
    "--version": "the version",
}

OF_SWEEPS = {
    "key=a,b,c": "each value, and with several such keys each combination; range(0,5) counts from 0 to 4",
    "hydra/launcher=joblib": "jobs side by side; likewise ray, submitit_slurm (a cluster) and submitit_local",
    "hydra/sweeper=search": "sweep.trials settings, chosen by how the ones before did, in place of all of them",
    "key=interval(a,b)": "of a search: any value between; tag(log, interval(a,b)) over factors of ten alike",
    "resume=auto": "goes on: what is complete stays, what failed is tried again, new values are added",
}

EXIT_CODES = {
    "0": "done",
    "1": "a bug of transfer-run",
    "2": "wrong input, nothing written",
    "3": "failed while running, the last good state kept",
    "75": "stopped by SIGTERM, SIGUSR1, SIGUSR2 or SIGHUP, state saved: the same command with resume=auto goes on",
    "130": "interrupted by Ctrl-C, state saved",
}


def help_text(source: ConfigSource, words: Sequence[str] = ()) -> str:
    """The page of each group that `words` name, as `strategy` or `strategy=finetune`; of none, the first page.

    A word may also be a mode, what other keys have before their dot, such as `sweep`, or `modes` and `keys`, for what
    the first page names, or `all`: the first page and every other. A key has the page that it is on; other settings of
    a command have none.

    Raises UserError for a name that nothing has.
    """
    groups = options(source)
    others = [*MODES, *sorted(_prefixes(source) - {*MODES})]
    pages = []
    for word in words:
        name, equals, option = word.removeprefix("mode=").partition("=")
        if not equals:
            name = name.partition(".")[0]
        if word in ("modes", "mode"):
            pages.append(_modes_page())
        elif word in ("keys", "key"):
            pages.append(_usual_keys_page(source))
        elif word == "all":
            pages += [_first_page(source, groups), _modes_page(), _usual_keys_page(source)]
            pages += [_group_page(source, group, "", names) for group, names in groups.items()]
            pages += [_keys_page(source, name) for name in others]
        elif name in groups:
            if option and "," not in option and option not in groups[name]:
                raise UserError(f"--help {word}: no such option.{did_you_mean(option, groups[name], f'{name}=')}")
            pages.append(_group_page(source, name, option, groups[name]))
        elif name in others:
            pages.append(_keys_page(source, name))
        elif not equals:
            near = did_you_mean(name, [*groups, *others, "modes", "keys", "all"])
            raise UserError(f"--help {word}: expected a group, a mode, modes, keys, sweep or all.{near}")
    return "\n\n".join(pages) if pages else _first_page(source, groups)


def _first_page(source: ConfigSource, groups: dict[str, list[str]]) -> str:
    """One screen: what there is, by name; what it means is on the other pages."""
    width = _width()
    firsts = default_options(source)
    options_of = {
        group: ", ".join(sorted(groups[group], key=lambda name: name != firsts.get(group))) or "none yet"
        for group in sorted(groups, key=lambda name: [*GROUPS, name].index(name))
    }
    parts = [
        "transfer-run: transfer learning from the command line",
        "",
        "usage: transfer-run [mode=<mode>] [group=<option> ...] [key=<value> ...] [-m]",
        "",
        "Examples",
        *(line for meaning, command in EXAMPLES for line in _example(command, meaning, width)),
        "",
        "Modes (mode=<mode>); --help modes says what each does, --help <mode> its keys",
        *textwrap.wrap(", ".join(MODES), width, initial_indent="  ", subsequent_indent="  "),
        "",
        "Groups (group=<option>, the default first); --help <group>, --help <group>=<option>",
        *_columns(options_of, width),
        "",
        "Keys that people reach for (key=<value>); --help keys says what they are, --help all has every key",
    ]
    for keys in USUAL.values():
        parts += textwrap.wrap(", ".join(keys), width, initial_indent="  ", subsequent_indent="  ")
    codes = "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    parts += ["", "Flags", *_columns(FLAGS, width), "", *textwrap.wrap(f"Exit codes: {codes}", width)]
    return "\n".join(parts)


def _example(command: str, meaning: str, width: int) -> list[str]:
    """A command and what it does, on one line where that has room."""
    line = f"  {command:<{_COMMAND}}  {meaning}"
    if len(command) <= _COMMAND and len(line) <= width:
        return [line]
    return [f"  {command}", *textwrap.wrap(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)]


def _modes_page() -> str:
    return "\n".join(["Modes (mode=<mode>)", *_columns({name: mode.does for name, mode in MODES.items()}, _width())])


def _usual_keys_page(source: ConfigSource) -> str:
    rows = {row.name: row for rows in reversed(described(source).values()) for row in reversed(rows)}
    parts = ["Keys that people reach for (key=<value>); --help <group>, --help <mode> and --help sweep have all"]
    for title, keys in USUAL.items():
        parts += ["", title, *_columns({key: _text(rows[key]) for key in keys if key in rows}, _width())]
    return "\n".join(parts)


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def _prefixes(source: ConfigSource) -> set[str]:
    """What keys that belong to no group have before their dot."""
    return {row.name.partition(".")[0] for row in described(source)[""] if "." in row.name}


def _keys_page(source: ConfigSource, name: str) -> str:
    """What a mode does, and the keys that it alone has; or those of sweeps."""
    width = _width()
    rows = {row.name: _text(row) for row in described(source)[""] if row.name.startswith(f"{name}.")}
    title = f"mode={name}: {MODES[name].does}" if name in MODES else f"{name}: many jobs from one command (-m)"
    parts = textwrap.wrap(title, width)
    if name in MODES:
        needs, takes, formats = MODES[name].needs, MODES[name].takes, MODES[name].formats
        parts += [f"  needs {', '.join(f'{key}=' for key in needs)}"] if needs else []
        parts += [f"  takes {', '.join(f'{key}=' for key in takes)}"] if takes else []
        parts += [f"  format={'|'.join(formats)}, auto by itself"] if formats else []
    if name == "sweep":
        parts += ["", "Words", *_columns(OF_SWEEPS, width)]
    return "\n".join([*parts, *(["", "Keys", *_columns(rows, width)] if rows else [])])


def _group_page(source: ConfigSource, group: str, option: str, names: list[str]) -> str:
    """A group's options, and the keys of all of them or of one."""
    width = _width()
    shown = [option] if option in names else names
    rows = [row for row in described(source)[group] if row.everywhere or row.values.keys() & {*shown}]
    parts = [f"{group}=<option>: {GROUPS.get(group, 'your own group')}"]
    parts += _columns({name: option_file(source, group, name).meaning for name in shown}, width)
    if rows:
        parts += ["", "Keys", *_columns({row.name + _of(row, shown): _text(row, option) for row in rows}, width)]
    return "\n".join(parts)


def _of(row: Described, shown: list[str]) -> str:
    """Which options a key belongs to, where that is not clear."""
    return f" ({', '.join(row.values)})" if not row.everywhere and len(shown) > 1 and len(row.values) <= 3 else ""


def _text(row: Described, option: str = "") -> str:
    return f"{row.comment} [{row.default(option)}]"


def _columns(rows: dict[str, str], width: int) -> list[str]:
    """Two aligned columns; a long first column takes a line of its own."""
    left = min(max((len(name) for name in rows), default=0), 28) + 4
    lines = []
    for name, meaning in rows.items():
        wrapped = textwrap.wrap(meaning, max(width - left, 24)) or [""]
        if len(name) + 3 > left:
            lines.append(f"  {name}")
        else:
            lines.append(f"{'  ' + name:<{left}}{wrapped.pop(0)}")
        lines += [" " * left + line for line in wrapped]
    return lines
