"""What a push sends of a run: its model and what explains it. States, logs, predictions and images never leave."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from transfer_cli.errors import UserError, first_line
from transfer_cli.files import file_sha256
from transfer_cli.records.cards.facts import CardFacts
from transfer_cli.records.cards.front_matter import card_metadata
from transfer_cli.rundir import CONFIG, completed_summary, is_held, read_json, saved_experiment
from transfer_cli.runs.pushing.private import command_without, local_paths, secrets_in, without_paths, without_places
from transfer_cli.runs.reports.reading import read_yaml
from transfer_cli.runs.reports.run_card import CARD, REPORT, card_of, gather, is_edited
from transfer_cli.runs.saved_model import DESCRIPTION, WEIGHTS, describe

_PICTURE = re.compile(r"\]\((plots/[\w.-]+\.png)\)", re.ASCII)
_TRACE = re.compile(rb'File \\?"[^"\n]{1,4096}\.py\\?", line \d')
"""Where a line of Python lies, as torch's exporters write it beside what they trace; in JSON with backslashes."""


@dataclass(frozen=True)
class Sent:
    """One file: where it goes, and its bytes or where they lie."""

    name: str
    content: bytes | Path

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Package:
    """All that is sent, and the local paths that settings and card name."""

    files: list[Sent]
    paths: list[str]
    """Left out, unless they were asked for."""
    sha256: str
    """Of the weights."""

    @property
    def card(self) -> str:
        """Its text."""
        return next(one.content for one in self.files if one.name == CARD).decode()  # type: ignore[union-attr]


def pack(run: Path, *, with_paths: bool) -> Package:
    """The files of a run for a hub, each checked. Raises UserError for what is not complete, damaged or secret."""
    if completed_summary(run) is None:
        raise UserError(f"run={run}: it is not complete (summary.json says so, or is not there); nothing was sent.")
    if is_held(run):
        raise UserError(f"run={run}: a process is at work there; nothing was sent.")
    saved_experiment(run)
    describe(run)
    _check_weights(run / WEIGHTS)
    _, config = read_yaml(run / CONFIG)
    paths = local_paths(config, read_json(run / "environment.json"))
    hidden = [] if with_paths else paths
    card = _card(run, hidden)
    settings, exports = without_places(config, hidden), _exports(run)
    files = [
        Sent(CONFIG, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).encode("utf-8", "backslashreplace")),
        Sent(CARD, card.encode("utf-8", "backslashreplace")),
        Sent(DESCRIPTION, (run / DESCRIPTION).read_bytes()),
        Sent(WEIGHTS, run / WEIGHTS),
        *_pictures(run, card),
        *exports,
    ]
    _check_secrets(run, files, settings)
    if not with_paths:
        _check_traces(exports)
    said = [one for one in paths if one in f"{yaml.safe_dump(config, allow_unicode=True, width=10**6)}{_card(run, [])}"]
    return Package(files, said, file_sha256(run / WEIGHTS))


def _check_weights(path: Path) -> None:
    """Raises UserError for a file that is not there, or not whole: its header says how long it is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = [*file.keys()]
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged or not there ({first_line(error)}); nothing was sent.") from error
    if not names:
        raise UserError(f"{path} holds no weights; nothing was sent.")


def _card(run: Path, hidden: list[str]) -> str:
    """The card: as somebody has edited it, else made anew of the run, without these paths."""
    if is_edited(run / CARD):
        found = str(without_paths((run / CARD).read_text(encoding="utf-8"), hidden))
    else:
        found = card_of(run, lambda facts: _without(facts, hidden))
    try:
        card_metadata(found)
    except ValueError as error:
        raise UserError(f"{run / CARD}: the YAML on its top cannot be read ({first_line(error)}).") from error
    return found


def _without(facts: CardFacts, paths: list[str]) -> CardFacts:
    command = command_without(facts.environment.get("command"), paths)
    environment = {**without_paths(facts.environment, paths), "command": command}
    summary, config = without_paths(facts.summary, paths), without_paths(facts.config, paths)
    return replace(facts, summary=summary, config=config, environment=environment)


def _pictures(run: Path, card: str) -> list[Sent]:
    """Those that the card shows. Raises UserError for one that is gone."""
    names = [*dict.fromkeys(_PICTURE.findall(card))]
    gone = [name for name in names if not (run / name).is_file()]
    if gone:
        raise UserError(f"{run / CARD}: shows {', '.join(gone)}, which is not there. Take that line out of it.")
    return [Sent(name, (run / name).read_bytes()) for name in names]


def _exports(run: Path) -> list[Sent]:
    """The files of exports that the card speaks of, but for the report, which says where they were made."""
    found = []
    for one in gather(run).exports:
        folder = run / one["folder"]
        names = [name for name in one.get("files") or [] if isinstance(name, str) and Path(name).name == name]
        found += [
            Sent(f"{one['folder']}/{name}", folder / name)
            for name in names
            if name != REPORT and (folder / name).is_file()
        ]
    return found


def _check_traces(exports: list[Sent]) -> None:
    """Raises UserError for a model that says where the Python files lay that it was exported from."""
    for one in exports:
        assert isinstance(one.content, Path)
        with one.content.open("rb") as file:
            if one.size_bytes and _TRACE.search(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)):
                raise UserError(
                    f"{one.content}: names Python files of the machine that exported it, as earlier versions had it. "
                    "Export it again (mode=export), or say push.paths=true; nothing was sent."
                )


def _check_secrets(run: Path, files: list[Sent], settings: dict[str, Any]) -> None:
    """Raises UserError for a text that holds what looks like a secret."""
    for one in files:
        if not one.name.endswith((".md", ".yaml", ".json", ".py")):
            continue
        data = one.content if isinstance(one.content, bytes) else one.content.read_bytes()
        found = secrets_in(data.decode("utf-8", "replace"), settings if one.name == CONFIG else None)
        if found:
            raise UserError(
                f"{run / one.name}: {found[0]}, which looks like a secret; nothing was sent. Take it out of that file."
            )
