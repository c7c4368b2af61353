"""One file for each mode of config/modes.py, and nothing else; each has `run(experiment, overrides) -> exit code`.

One that composes has `run(experiment, overrides, source)`.
"""

from __future__ import annotations

import importlib

from transfer_cli import collector
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.config.modes import MODES
from transfer_cli.config.schema import Experiment
from transfer_cli.preflight import preflight


def run_mode(experiment: Experiment, overrides: Overrides, source: ConfigSource) -> int:
    """Check what can be checked without torch, then load and run the mode; returns the exit code."""
    assert experiment.mode in MODES
    preflight(experiment)
    more = [source] if MODES[experiment.mode].composes else []
    mode = importlib.import_module(f"{__name__}.{experiment.mode}")
    collector.settle()
    code = mode.run(experiment, overrides, *more)
    assert isinstance(code, int)
    return code
