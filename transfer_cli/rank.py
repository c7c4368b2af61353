"""One process of several that this program starts to train together: `python -m transfer_cli.rank <folder>`.

None composes: the settings are frozen in the folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from transfer_cli import collector, launched
from transfer_cli.cli import guarded
from transfer_cli.errors import EXIT_OK, Stopped
from transfer_cli.launched import CODE, FROZEN, Place, pid_file
from transfer_cli.signals import leave

_WATCH_SECONDS = 1.0


def run() -> NoReturn:
    """Train as the frozen settings say, one of the ranks that the environment names; end with its exit code."""
    folder, place = Path(sys.argv[1]), launched.place_of(os.environ)
    assert place is not None
    collector.pause()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    code = guarded(lambda: _first(folder, place) if place.rank == 0 else _other(folder, place))
    if place.rank == 0:
        (folder / CODE).write_text(str(code), encoding="ascii")
    leave(code)


def _first(folder: Path, place: Place) -> int:
    _take_signals(folder, place)
    from transfer_cli.engine.ranks.world import current
    from transfer_cli.records.terminal import Reporter
    from transfer_cli.runs.ranks.join import as_rank
    from transfer_cli.runs.ranks.launch import Frozen
    from transfer_cli.runs.train import train

    def work() -> int:
        frozen = Frozen.from_dict(json.loads((folder / FROZEN).read_text(encoding="utf-8")))
        reporter = Reporter(frozen.experiment.quiet, prints_result=frozen.prints_result)
        train(frozen.experiment, frozen.path, reporter, may_exist=frozen.may_exist, world=current())
        return EXIT_OK

    # That a rank is lost says the process that started them, which knows which one.
    return as_rank(place, work, says_lost=False)


def _other(folder: Path, place: Place) -> int:
    try:
        _take_signals(folder, place)
        from transfer_cli.runs.ranks.join import as_rank

        return as_rank(place, lambda: EXIT_OK, says_lost=False)
    except Stopped as stopped:
        return stopped.code  # the first says so


def _take_signals(folder: Path, place: Place) -> None:
    """From here on a signal ends this process in good order, and so it may be sent one."""
    pid_file(folder, place.rank).write_text(str(os.getpid()), encoding="ascii")


def _end_with(parent: int) -> None:
    """A process whose launcher is gone saves its state and ends."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run()
