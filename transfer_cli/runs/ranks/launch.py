"""Ranks on this machine: one process a device, started and watched by torch's elastic agent.

The settings are composed and checked before, and go to the ranks frozen. This process trains nothing; it hands signals
on, and says what became of a rank that could not say so itself.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch

from transfer_cli.config.parse import parse, to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.devices.device import select_device
from transfer_cli.errors import (
    EXIT_BUG,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_USER,
    RunError,
    Stopped,
    UserError,
)
from transfer_cli.launched import CODE, FROZEN, pid_file
from transfer_cli.preflight import alone, ranks_problem
from transfer_cli.signals import ENDING, handled

GRACE_SECONDS = 25
"""For ranks to save a state, before they are killed."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Frozen:
    """What the first rank trains, and where."""

    experiment: Experiment
    path: Path
    may_exist: bool = False
    prints_result: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        more = {"path": str(self.path), "may_exist": self.may_exist, "prints_result": self.prints_result}
        return {"experiment": to_dict(self.experiment), **more}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        rest = {key: values[key] for key in ("may_exist", "prints_result")}
        return cls(parse(values["experiment"]), Path(values["path"]), **rest)


def count_devices(e: Experiment) -> int:
    """How many processes `trainer.devices` means. Raises UserError for more devices than there are, or can be used.

    The settings of a run that goes on are known only now: they may name one device.
    """
    wanted, problem = e.trainer.devices, ranks_problem(e)
    if problem is not None:
        raise UserError(problem)
    if wanted == 1 or (wanted == "auto" and alone(e) is not None):
        return 1
    kind = select_device(e.trainer.device).type
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind)
    if wanted == "auto":
        return there or 1
    if there is not None and wanted > there:
        raise UserError(f"trainer.devices={wanted}: this machine has {there} of {kind}; auto takes all.")
    return wanted


def launch(frozen: Frozen, count: int) -> int:
    """Train on `count` ranks of this machine; returns the exit code of the first, which has said what there is to say.

    Raises RunError for a rank that was killed, Stopped where signals came before any rank could take them.
    """
    with tempfile.TemporaryDirectory(prefix="transfer-run-ranks-") as folder:
        ranks = Ranks(Path(folder), count)
        (ranks.folder / FROZEN).write_text(json.dumps(frozen.to_dict()), encoding="utf-8")
        with ranks.signals_handed_on():
            ranks.run()
        return ranks.code()


@dataclass
class Ranks:
    """The processes of one training, and the signals that this one got for them."""

    folder: Path
    count: int
    asked: list[int] = field(default_factory=list)
    codes: dict[int, int] = field(default_factory=dict)
    """Of ranks that failed, the first to do so first."""
    _handed: dict[int, int] = field(default_factory=dict)
    """How many signals each process has got."""
    _killed: bool = False

    def run(self) -> None:
        """Until all have ended. In a thread of its own the agent leaves signals to this process's own handlers."""
        agent = threading.Thread(target=self._run_agent, daemon=True)
        agent.start()
        deadline = None
        while agent.is_alive():
            agent.join(_POLL_SECONDS)
            self.hand_on()
            if self.asked and deadline is None:
                deadline = time.monotonic() + GRACE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                self._killed = True
                self._send(signal.SIGKILL)

    def _run_agent(self) -> None:
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        # What it logs is for those who run a cluster of agents.
        logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
        os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(GRACE_SECONDS)
        # Ranks inherit it: a lost connection is told in a sentence, without torch's stack of frames.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=self.count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=_POLL_SECONDS,
            local_addr="localhost",
            logs_specs=DefaultLogsSpecs(log_dir=str(self.folder / "logs")),
        )
        try:
            elastic_launch(config, sys.executable)(*_python_flags(), "-m", "transfer_cli.rank", str(self.folder))
        except ChildFailedError as error:
            failures = sorted(error.failures.items(), key=lambda pair: pair[1].timestamp)
            self.codes = {rank: failure.exitcode for rank, failure in failures}

    def signals_handed_on(self) -> AbstractContextManager[None]:
        """Within, what is sent to this process is meant for the ranks."""

        def note(number: int, frame: FrameType | None) -> None:
            self.asked.append(number)

        return handled(ENDING, note)

    def hand_on(self) -> None:
        """Every signal to every rank that can take it: one that just starts would die of it, and gets it later."""
        for rank in range(self.count):
            for number in self.asked[self._handed.get(rank, 0) :]:
                if not self._send_to(rank, number):
                    break
                self._handed[rank] = self._handed.get(rank, 0) + 1

    def _send(self, number: int) -> None:
        for rank in range(self.count):
            self._send_to(rank, number)

    def _send_to(self, rank: int, number: int) -> bool:
        """Whether the rank is there to get it; what it has started gets it as well, as from a terminal."""
        try:
            os.killpg(int(pid_file(self.folder, rank).read_text(encoding="ascii")), number)
        except (OSError, ValueError):
            return False
        return True

    def code(self) -> int:
        """That of the run. Raises what only this process can say."""
        own = self._own_code()
        if self._killed:
            raise RunError(
                f"the ranks did not end within {GRACE_SECONDS} s and were killed. States saved so far are kept: go on "
                "with the same command and resume=auto."
            )
        if not self.codes:
            return own if own is not None else EXIT_OK
        rank, first = next(iter(self.codes.items()))
        if first < 0 and not self.asked:
            raise RunError(
                f"rank {rank} was killed by signal {-first} ({signal.Signals(-first).name}), and the others ended. "
                "Nothing of this program does so: the system had no memory left, or somebody did. States saved so far "
                "are kept: go on with the same command and resume=auto."
            )
        if self.asked and own is None:
            code = EXIT_INTERRUPTED if signal.SIGINT in self.asked else EXIT_PREEMPTED
            raise Stopped(code, "before training began; the same command starts again")
        # What one failed with, rather than that the others were stopped for it.
        failed = [code for code in self.codes.values() if code in (EXIT_FAILED, EXIT_BUG, EXIT_USER)]
        return failed[0] if failed else own or EXIT_FAILED

    def _own_code(self) -> int | None:
        try:
            return int((self.folder / CODE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None


def _python_flags() -> list[str]:
    """The ranks find this program where it was found: in the folder they run in only if it was found there."""
    return [] if {"", os.getcwd()} & {*sys.path} else ["-P"]
