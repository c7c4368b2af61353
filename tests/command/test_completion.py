"""What the Tab key offers, by the function, and in bash itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended
from transfer_cli.command.completion import candidates
from transfer_cli.command.described import described
from transfer_cli.command.source import ConfigSource, conf_dir, options
from transfer_cli.config.modes import MODES

SOURCE = ConfigSource(conf_dir(), "config", None)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("strat", ["strategy.", "strategy="]),
        ("model=resnet1", ["model=resnet101", "model=resnet18"]),
        ("strategy=", ["strategy=distill", "strategy=extract", "strategy=finetune"]),
        ("optimizer.l", ["optimizer.lr="]),
        ("+strategy=ext", ["+strategy=extract"]),
        ("mode=ev", ["mode=evaluate"]),
        ("logger=csv,mlf", ["logger=csv,mlflow"]),
        ("dataset.download=", ["dataset.download=false", "dataset.download=true"]),
        ("hydra/sw", ["hydra/sweeper="]),
        ("trainer.precision=b", ["trainer.precision=bf16"]),
        ("strategy.loss.x", []),
        ("sweep.sampler=", ["sweep.sampler=cma", "sweep.sampler=grid", "sweep.sampler=random", "sweep.sampler=tpe"]),
        ("strategy.head_init=p", ["strategy.head_init=probe"]),
        ("--ver", ["--version"]),
        ("dataset.path=/etc", []),
        ("nothing.like.it", []),
    ],
)
def test_a_word_that_was_begun(word: str, found: list[str]) -> None:
    assert candidates(SOURCE, word) == found


def test_every_key_group_and_mode_can_be_reached() -> None:
    names = [row.name for rows in described(SOURCE).values() for row in rows if "<" not in row.name]
    for name in names[::29]:
        assert f"{name}=" in candidates(SOURCE, name)
    for group, names in options(SOURCE).items():
        assert candidates(SOURCE, f"{group}=") == [f"{group}={name}" for name in names]
    assert candidates(SOURCE, "mode=") == sorted(f"mode={name}" for name in MODES)


def test_bash_completes_a_command(command: Callable[..., Ended], tmp_path: Path) -> None:
    script = command("--completion", "bash").out
    program = tmp_path / "transfer-run"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m transfer_cli "$@"\n')
    program.chmod(0o755)
    (tmp_path / "photos").mkdir()
    lines = ["transfer-run strategy=ex", "transfer-run -m model=resnet3", "transfer-run dataset.path=pho"]
    calls = [f'COMP_LINE="{one}"; COMP_POINT={len(one)}; _transfer_run; echo "${{COMPREPLY[*]}}"' for one in lines]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    code = "\n".join([script, *calls])
    ended = subprocess.run(
        ["bash", "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == ["extract", "resnet34", "photos"], ended.stderr


def test_another_shell_is_refused(command: Callable[..., Ended]) -> None:
    ended = command("--completion", "tcsh")
    assert ended.code == 2 and "--completion=tcsh: no such choice" in ended.err and "fish" in ended.err
