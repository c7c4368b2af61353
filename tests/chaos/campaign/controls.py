"""What the campaign must notice: a state that was altered, and a cache byte that nothing compares any more."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.chaos.campaign.cases import CASES, NAME
from tests.chaos.campaign.kills import Commands, environment
from transfer_cli.files import file_sha256

_UNCHECKED = (
    "import sys; from transfer_cli.cache.entries import Cache; Cache.is_sound = lambda *_, **__: True; "
    "from transfer_cli.cli import main; sys.exit(main(sys.argv[1:]))"
)


def _altered(change: Callable[[Path], None]) -> Callable[[Commands], str | None]:
    """A run that goes on from a state with other values and the right checksums must not end as it would have."""

    def control(commands: Commands) -> str | None:
        case = CASES["finetune"]
        words = [*case.command, "trainer.keep=100"]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            commands.whole(folder, words)
            before = case.found(folder)
            _go_back(folder)
            commands.whole(folder, words)
            if case.found(folder) != before:
                return "a run that goes on from a state as it was ends in other bytes"
            change(_go_back(folder))
            commands.whole(folder, words)
            return "ended in the same bytes" if case.found(folder) == before else None

    return control


def _go_back(folder: Path) -> Path:
    """Leave a run with its first states alone; the one that it goes on from, within its first epoch."""
    run = folder / "outputs" / "runs" / NAME
    first, *later = sorted((run / "checkpoints").glob("state-*"))
    for state in later:
        shutil.rmtree(state)
    (run / "summary.json").unlink()
    return first


def _one_step_later(state: Path) -> None:
    content = json.loads((state / "state.json").read_text())
    content["parts"]["progress"]["cursor"]["step_in_epoch"] += 1
    (state / "state.json").write_text(json.dumps(content))
    _sign(state)


def _other_random_numbers(state: Path) -> None:
    """They follow from the run's seed and the number of the step."""
    content = json.loads((state / "state.json").read_text())
    content["parts"]["progress"]["cursor"]["step"] += 1000
    (state / "state.json").write_text(json.dumps(content))
    _sign(state)


def _sign(state: Path) -> None:
    hashes = {file.name: file_sha256(file) for file in state.iterdir() if file.name != "manifest.json"}
    (state / "manifest.json").write_text(json.dumps(hashes))


def _flipped(commands: Commands) -> str | None:
    """A byte of the cached features changes what is fitted to them, where checksums are not compared."""
    case = CASES["probe"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands.whole(folder, [*case.words, f"name={NAME}"])
        before = case.found(folder)
        rows = max(folder.glob("cache/activations/*/rows.bin"), key=lambda file: file.stat().st_size)
        data = bytearray(rows.read_bytes())
        # The exponent of a number of the first row.
        data[3] ^= 0x10
        rows.write_bytes(data)
        again = [*case.words, f"name={NAME}", f"output_dir={folder}/again"]
        ended = subprocess.run(
            [sys.executable, "-c", _UNCHECKED, *again],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            return ended.stderr
        after = {name: (folder / "again" / name.removeprefix("outputs/")).read_bytes() for name in before}
        return "ended in the same bytes" if after == before else None


CONTROLS: dict[str, Callable[[Commands], str | None]] = {
    "a state whose cursor is a step later": _altered(_one_step_later),
    "a state whose steps draw other random numbers": _altered(_other_random_numbers),
    "a cache byte that nothing compares": _flipped,
}
