"""The program: `transfer-run`, or `python -m transfer_cli`."""

from __future__ import annotations

from typing import NoReturn

from transfer_cli import collector
from transfer_cli.cli import main
from transfer_cli.signals import leave


def run() -> NoReturn:
    """Run the command of this process, and end with its exit code."""
    collector.pause()
    leave(main())


if __name__ == "__main__":
    run()
