"""What the README shows is right: every command in it composes, and those marked so run as they stand, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.grid import compose_grid
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.config.parse import parse

README = Path(__file__).parents[1] / "README.md"
RUN = "<!-- A test runs these. -->"
"""Invisible where the README is shown; the next block of commands is run."""
TIMEOUT_SECONDS = 600
# What a search alone reads, and what an extra brings.
_OF_EXTRAS = re.compile(r"hydra[/.](sweeper|launcher)|sweep\.trials=|.*\b(interval|choice|tag)\(")


def blocks() -> Iterator[tuple[bool, list[str]]]:
    """Each block of lines that are indented by four, and whether it is marked to be run."""
    marked, lines = False, list[str]()
    for line in README.read_text(encoding="utf-8").splitlines():
        if line.startswith("    ") and (lines or line[4:5].strip()):
            lines.append(line[4:])
            continue
        if lines:
            yield marked, lines
            marked, lines = False, []
        marked = (marked and not line.strip()) or line.strip() == RUN


def commands() -> list[str]:
    """Every command of ours, in a block or in running text."""
    shown = [line for _, lines in blocks() for line in lines if re.match(r"(\w+ .*)?transfer-run ", line)]
    text = " ".join(README.read_text(encoding="utf-8").split())
    return [*shown, *re.findall(r"`(transfer-run [^`<]*)`", text)]


def words_of(line: str) -> list[str]:
    """The words after the command's name, without what the shell does with them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words = [*lexer]
    words = words[words.index("transfer-run") + 1 :]
    ends = [number for number, word in enumerate(words) if set(word) <= set("|&>")]
    return words[: ends[0]] if ends else words


def test_there_are_commands_to_look_at() -> None:
    assert len(commands()) > 50
    assert sum(marked for marked, _ in blocks()) > 5


@pytest.mark.parametrize("line", commands())
def test_every_command_composes(line: str) -> None:
    words = words_of(line)
    if any(word.startswith(("--help", "--completion", "--config-path")) for word in words):
        return
    source = ConfigSource(conf_dir(), "config", None)
    words = [word for word in words if word not in ("-m", "--cfg", "job") and not _OF_EXTRAS.match(word)]
    if "-m" in words_of(line):
        assert [parse(one.values) for one in compose_grid(source, parse_overrides(words))]
    else:
        assert parse(to_plain(compose(source, parse_overrides(words))))


@pytest.mark.slow
def test_commands_that_are_marked_run_as_they_stand() -> None:
    """One after the other in one folder, as somebody would who reads on; in it are a few photos."""
    make_photos(Path("photos"), 12)
    make_photos(Path("new"), 1, classes=1)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for marked, lines in blocks():
        for line in lines if marked else []:
            ended = subprocess.run(
                ["bash", "-o", "pipefail", "-c", line],
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
            assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
            assert "Traceback" not in ended.stderr


def make_photos(folder: Path, each: int, classes: int = 3) -> None:
    """Pictures that a network tells apart by their colour."""
    for number in range(classes * each):
        file = folder / "abc"[number % classes] / f"{number:04}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        shade = (60 + 90 * (number % classes), 120, 20 + number)
        Image.new("RGB", (40, 36), shade).save(file)
