"""No file makes Hydra run code: each way in ends in one message, nothing written and nothing run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended
from transfer_cli.command.source import conf_dir

PAYLOAD = """
from pathlib import Path
Path({mark!r}).touch()
class Payload:
    def __init__(self, **settings):
        Path({mark!r}).touch()
"""
CALLBACK = "callbacks:\n  x:\n    _target_: payload.Payload\n"
HANDLER = "job_logging:\n  handlers:\n    x: {'()': payload.Payload}\n  root:\n    handlers: [x]\n"
FROM_GLOBAL = "# @package _global_\nhydra:\n"


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


# Files in --config-dir, words of the command, and what the message names.
WAYS: dict[str, tuple[dict[str, str], list[str], str]] = {
    "callback": ({"experiment/x.yaml": FROM_GLOBAL + indented(CALLBACK)}, ["experiment=x"], "hydra.callbacks.x"),
    "package of Hydra": ({"experiment/x.yaml": "# @package hydra\n" + CALLBACK}, ["experiment=x"], "hydra.callbacks.x"),
    "logging handler": ({"experiment/x.yaml": FROM_GLOBAL + indented(HANDLER)}, ["experiment=x"], "hydra.job_logging"),
    "environment": (
        {"experiment/x.yaml": FROM_GLOBAL + "  job:\n    env_set: {LD_PRELOAD: x.so}\n"},
        ["experiment=x"],
        "hydra.job.env_set.LD_PRELOAD",
    ),
    "launcher by import path": (
        {"experiment/x.yaml": FROM_GLOBAL + "  launcher:\n    _target_: payload.Payload\n"},
        ["experiment=x"],
        "hydra.launcher._target_",
    ),
    "more jobs": (
        {"experiment/x.yaml": FROM_GLOBAL + "  sweeper:\n    params: {seed: '1,2'}\n"},
        ["experiment=x"],
        "hydra.sweeper.params",
    ),
    "more words": (
        {"experiment/x.yaml": FROM_GLOBAL + "  overrides:\n    task: [seed=7]\n"},
        ["experiment=x"],
        "hydra.overrides",
    ),
    "run folder": (
        {"experiment/x.yaml": FROM_GLOBAL + "  run:\n    dir: elsewhere\n"},
        ["experiment=x"],
        "hydra.run.dir",
    ),
    "group put below Hydra": (
        {
            "experiment/x.yaml": "# @package _global_\ndefaults:\n  - /mine@hydra.callbacks: x\n",
            "mine/x.yaml": "x:\n  _target_: payload.Payload\n",
        },
        ["experiment=x"],
        "hydra.callbacks.x",
    ),
    "group put below Hydra by the command": (
        {"mine/x.yaml": "x:\n  _target_: payload.Payload\n"},
        ["+mine@hydra.callbacks=x"],
        "hydra.callbacks.x",
    ),
    "callback of a group": (
        {
            "hydra/callbacks/x.yaml": "x:\n  _target_: payload.Payload\n",
            "experiment/x.yaml": "# @package _global_\ndefaults:\n  - override /hydra/callbacks: x\n",
        },
        ["experiment=x"],
        "Hydra's own",
    ),
    "launcher of a group": ({"hydra/launcher/basic.yaml": "_target_: payload.Payload\n"}, [], "Hydra's own"),
    "callback named in the command": ({"mine/x.yaml": "a: 1\n"}, ["hydra/callbacks=x"], "hydra/callbacks=x"),
    "import path in the command": ({}, ["hydra.launcher._target_=payload.Payload"], "hydra.launcher._target_"),
    "launcher that is not known": ({}, ["hydra/launcher=payload"], "launcher=payload"),
    "search path in the command": ({}, ["hydra.searchpath=[pkg://payload]"], "--config-dir"),
    "search path in an option": (
        {"experiment/x.yaml": FROM_GLOBAL + "  searchpath: [pkg://payload]\n"},
        ["experiment=x"],
        "hydra.searchpath",
    ),
}
FLAGS = [["-m"], ["--cfg", "job"], ["--cfg", "hydra"], ["--info", "config"], []]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the payload would leave; the payload can be imported."""
    mark = tmp_path / "it_ran"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "payload.py").write_text(PAYLOAD.format(mark=str(mark)))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    return mark


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("way", WAYS)
def test_an_option_file_runs_nothing(command: Callable[..., Ended], tmp_path: Path, mark: Path, way: str) -> None:
    files, words, named = WAYS[way]
    write(tmp_path / "mine", files)
    for flags in FLAGS if way == "callback" else FLAGS[:1]:
        ended = command(*flags, "--config-dir", "mine", *TINY, "seed=1", *words)
        assert ended.code == 2, (flags, ended.out)
        assert ended.err.startswith("error: ")
        assert named in ended.err, ended.err
        assert not mark.exists(), flags
    assert not Path("outputs").exists()


@pytest.mark.parametrize("block", [CALLBACK, HANDLER, "searchpath: [pkg://payload]\n", "mode: MULTIRUN\n"])
def test_a_run_directory_runs_nothing(command: Callable[..., Ended], tmp_path: Path, mark: Path, block: str) -> None:
    write(tmp_path / "run", {"config.yaml": "seed: 0\nhydra:\n" + indented(block)})
    for flags in [*FLAGS[:2], ["--hydra-help"], ["--shell-completion", "query=bash"]]:
        ended = command(*flags, "--config-path", "run")
        assert ended.code == 2, (flags, ended.out)
        assert f"hydra.{block.split(':')[0]}" in ended.err
        assert "config.yaml" in ended.err
        assert not mark.exists(), flags
    assert not Path("outputs").exists()


def test_what_only_the_shared_part_of_a_sweep_loads_runs_nothing(
    command: Callable[..., Ended], tmp_path: Path, mark: Path
) -> None:
    """Every option that is swept over takes out what runs code; what the jobs share has none of these options."""
    clean = "# @package _global_\ndefaults:\n  - override /other: clean\n"
    shutil.copytree(conf_dir(), "own")
    write(
        tmp_path / "own" / "other", {"x.yaml": FROM_GLOBAL + indented(CALLBACK), "clean.yaml": "# @package _global_\n"}
    )
    for name in ("a", "b"):
        (tmp_path / "own" / "experiment" / f"{name}.yaml").write_text(clean)
    primary = tmp_path / "own" / "config.yaml"
    primary.write_text(primary.read_text().replace("  - experiment: null\n", "  - other: x\n  - experiment: null\n"))
    assert command("--config-path", "own", *TINY, "experiment=a", "--cfg", "job").code == 0
    ended = command("-m", "--config-path", "own", *TINY, "experiment=a,b")
    assert ended.code == 2, ended.out
    assert "hydra.callbacks.x" in ended.err
    assert not mark.exists()


def test_files_may_say_what_ours_say(command: Callable[..., Ended], tmp_path: Path) -> None:
    settings = "  output_subdir: null\n  run:\n    dir: .\n"
    defaults = "defaults:\n  - override /hydra/launcher: basic\n  - override /hydra/job_logging: none\n"
    write(tmp_path / "mine", {"experiment/x.yaml": "# @package _global_\n" + defaults + "hydra:\n" + settings})
    ended = command("--config-dir", "mine", "experiment=x", "--cfg", "job", "-p", "seed")
    assert (ended.code, ended.out) == (0, "seed: 0\n")


@pytest.mark.parametrize("flags", [["-m"], ["--cfg", "job"]])
@pytest.mark.parametrize("way", ["option", "primary"])
def test_no_path_leads_out_of_the_folder_of_our_files(
    command: Callable[..., Ended], tmp_path: Path, mark: Path, flags: list[str], way: str
) -> None:
    write(tmp_path / "mine", {"x.yaml": FROM_GLOBAL + indented(CALLBACK)})
    out = os.path.relpath(tmp_path / "mine" / "x", conf_dir() / ("experiment" if way == "option" else ""))
    words = [f"experiment={out}"] if way == "option" else ["--config-name", out]
    ended = command(*flags, *TINY, *words)
    assert ended.code == 2, ended.out
    assert "not a path" in ended.err
    assert not mark.exists()
    assert not Path("outputs").exists()


def test_a_sweep_from_a_run_directory_leaves_no_files_of_hydras(command: Callable[..., Ended]) -> None:
    assert command(*TINY, "name=one", "trainer.epochs=1").code == 0
    ended = command("--config-path", "outputs/runs/one", "-m", "name=again", "seed=0,1")
    assert ended.code == 0, ended.err
    (job,) = Path("outputs/sweeps/again").glob("seed-0_*")
    assert not (job / ".hydra").exists()
    assert [path.name for path in job.glob("*.log")] == ["run.log"]


def test_nothing_runs_in_a_process_of_its_own(tmp_path: Path, mark: Path) -> None:
    write(tmp_path / "run", {"config.yaml": "seed: 0\nhydra:\n" + indented(CALLBACK)})
    ended = subprocess.run(
        [sys.executable, "-m", "transfer_cli", "--config-path", "run", "-m"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 2, ended.stderr
    assert not mark.exists()
