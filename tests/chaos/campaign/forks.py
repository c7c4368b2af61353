"""Commands that start at once: a process that has imported all that they need forks, and its child becomes the command.

Nine tenths of a small run's time are imports, in which there is nothing to lose. The child is the leader of a session
of its own and stands still until it is let go, so that strace can be attached to it. What a fork shares with the next,
such as the order of sets, a kill could hide: `Forks` gives each command to the server that has rested longest, and each
server has another hash seed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ALSO = (
    "torch._dynamo",
    "timm",
    "torchvision.transforms.v2",
    "matplotlib.pyplot",
    "sklearn.metrics",
    "PIL.PngImagePlugin",
)
_OPTUNA = ("optuna", "optuna.samplers", "optuna.pruners", "optuna.storages.journal")
_STARTS = ("transfer_cli.rank", "transfer_cli.__main__")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """As Popen says it."""
    output: str
    peak_bytes: int
    """The most memory that it or one of its processes had."""


@dataclass(frozen=True)
class Forked:
    """A command that stands still at its start. `wait` must be called."""

    server: subprocess.Popen[str]
    pid: int
    output: Path

    def let_go(self) -> None:
        """Let it run."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> Ended:
        """Its end."""
        assert self.server.stdout is not None
        status, kilobytes = map(int, self.server.stdout.readline().split())
        return Ended(os.waitstatus_to_exitcode(status), self.output.read_text(errors="replace"), kilobytes * 1024)


class Forks:
    """Servers, as many as are asked for. Close it."""

    def __init__(self, servers: int) -> None:
        self._free: queue.Queue[subprocess.Popen[str]] = queue.Queue()
        self._all = [self._server(seed) for seed in range(1, servers + 1)]
        for server in self._all:
            self._free.put(server)

    @contextlib.contextmanager
    def started(self, words: list[str], folder: Path, environment: dict[str, str], output: Path) -> Iterator[Forked]:
        """A command in `folder` with exactly this environment; what it prints goes to `output`."""
        server = self._free.get()
        assert server.stdin is not None and server.stdout is not None
        asked = {"words": words, "folder": str(folder), "environment": environment, "output": str(output)}
        server.stdin.write(f"{json.dumps(asked)}\n")
        server.stdin.flush()
        try:
            yield Forked(server, int(server.stdout.readline()), output)
        finally:
            self._free.put(server)

    def close(self) -> None:
        """End the servers."""
        for server in self._all:
            server.communicate()

    @staticmethod
    def _server(hash_seed: int) -> subprocess.Popen[str]:
        root = Path(__file__).parents[3]
        path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": path, "PYTHONHASHSEED": str(hash_seed)}
        words = [sys.executable, "-m", "tests.chaos.campaign.forks"]
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )


def _serve() -> None:
    """Fork for each line of the standard input; in the child, come back from here."""
    for name in _imported():
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return _become(json.loads(line))
        os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)
        _, status, used = os.wait4(child, 0)
        print(status, used.ru_maxrss, flush=True)
    sys.exit()


def _imported() -> list[str]:
    import transfer_cli

    ours = [module.name for module in pkgutil.walk_packages(transfer_cli.__path__, "transfer_cli.")]
    optional = _OPTUNA if importlib.util.find_spec("optuna") else ()
    return [*_ALSO, *optional, *(name for name in ours if name not in _STARTS)]


def _become(asked: dict[str, Any]) -> None:
    """As if this process had been started as the command; it stops, and goes on when it is let go."""
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, opened in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(opened, number)
    sys.argv = ["transfer-run", *asked["words"]]
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    _serve()
    from transfer_cli.__main__ import run

    run()
