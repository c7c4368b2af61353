"""Modes: what one command does. Each module here offers `run(experiment, overrides) -> exit code`."""

from __future__ import annotations

import importlib

from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.preflight import preflight

MODULES = {
    "train": "transfer_cli.modes.train",
    "evaluate": "transfer_cli.modes.evaluate",
    "predict": "transfer_cli.modes.predict",
    "rank": "transfer_cli.modes.rank",
    "find_lr": "transfer_cli.modes.find_lr",
    "cache": "transfer_cli.modes.cache",
}


def run_mode(experiment: Experiment, overrides: Overrides) -> int:
    """Check what can be checked without torch, then load and run the mode; returns the exit code."""
    preflight(experiment)
    code = importlib.import_module(MODULES[experiment.mode]).run(experiment, overrides)
    assert isinstance(code, int)
    return code
