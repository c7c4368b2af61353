"""What every test shares: no network, no user's cache, and commands run as a user runs them."""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from transfer_cli.cli import main
from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.config.parse import parse
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_PREEMPTED

# The smallest experiment that is one: a tiny network from scratch on made-up images, one second a run.
TINY = [
    "model.name=test_resnet",
    "model.source=timm",
    "model.weights=none",
    "dataset=fake",
    "dataset.num_classes=3",
    "dataset.samples=60",
    "image_size=32",
    "augment=light",
    "trainer.epochs=2",
    "trainer.batch_size=16",
    "trainer.device=cpu",
    "trainer.precision=fp32",
]


@pytest.fixture(scope="session")
def _imports_are_no_garbage() -> None:
    """Half a million objects that stay: looking through them again and again takes a sixteenth of the tests' time."""
    for name in ("timm", "matplotlib.figure", "transfer_cli.runs.train", "transfer_cli.runs.finetune.job"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFER_RUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@dataclass
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], _imports_are_no_garbage: None) -> Callable[..., Ended]:
    """Run one command in this process."""

    def run(*words: str) -> Ended:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """`stop_at(n)`: as if a signal came before the n-th look at the flag, about one a step; None: never."""

    from transfer_cli.engine.ranks import agreement
    from transfer_cli.engine.stop import Stop
    from transfer_cli.modes import find_lr

    def install(looks: int | None) -> None:
        class Stopping(Stop):
            left = looks

            @property
            def code(self) -> int | None:
                if self.left is None:
                    return None
                self.left -= 1
                return EXIT_PREEMPTED if self.left <= 0 else None

            @code.setter
            def code(self, value: int | None) -> None:
                pass

        for module in (agreement, find_lr):
            monkeypatch.setattr(module, "Stop", Stopping)

    return install


def start(*words: str, preexec_fn: Callable[[], object] | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start one command in a process of its own, with two threads; `preexec_fn` runs there first."""
    return subprocess.Popen(
        [sys.executable, "-m", "transfer_cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
        env={**os.environ, "OMP_NUM_THREADS": "2", **environment},
    )


def experiment(*overrides: str) -> Experiment:
    """The experiment that a command with these overrides would run."""
    return parse(to_plain(compose(ConfigSource(conf_dir(), "config", None), parse_overrides(list(overrides)))))


def logged(log: Path) -> list[dict[str, Any]]:
    """Every line of a metrics log. Raises ValueError for one that is damaged, and where the last one is cut."""
    *lines, rest = log.read_bytes().split(b"\n")
    if rest:
        raise ValueError(f"{log}: its last line is cut")
    return [json.loads(line) for line in lines]


def summary(run: Path | str) -> dict[str, Any]:
    """The summary of a run directory."""
    content = json.loads((Path(run) / "summary.json").read_text())
    assert isinstance(content, dict)
    return content


def with_classes(run: Path, *names: str) -> None:
    """Let the trained model of a run directory have learnt classes of these names."""
    about = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**about, "classes": list(names)}))


def trained_on_others(command: Callable[..., Ended], *words: str) -> list[str]:
    """Words that start from a run of TINY with these words, as one that was trained on other classes."""
    run = Path("outputs/runs/first")
    assert command(*TINY, "name=first", "optimizer.lr=0.01", *words).code == 0
    with_classes(run, "ant", "bee", "cow")
    return [f"model.weights={run}", "dataset.num_classes=4"]
