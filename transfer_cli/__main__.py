"""The program: `transfer-run`, or `python -m transfer_cli`."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from transfer_cli.cli import main
from transfer_cli.signals import ENDING


def run() -> NoReturn:
    """Run the command of this process, and end with its exit code."""
    code = main()
    # All is done and said: a signal while Python takes itself down would only change the exit code.
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    run()
