"""Garbage is collected in every process of ours, but not while it imports."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from transfer_cli import collector

_TELLS = """
import gc, importlib, sys
from transfer_cli import __main__

def tells(*_):
    print("collects", gc.isenabled(), gc.get_freeze_count() > 50_000)
    return 0

names = {names}
setattr(importlib.import_module(names[0]), names[1], tells)
gc.unfreeze()
sys.argv[1:] = {words}
__main__.run()
"""
PLACES = [
    (("transfer_cli.modes.train", "run"), ["dataset=digits"]),
    (("transfer_cli.sweeps.sweep", "run_sweep"), ["-m", "seed=0,1"]),
    (("transfer_cli.sweeps.search.search", "run_search"), ["-m", "hydra/sweeper=search"]),
]


@pytest.mark.parametrize(("names", "words"), PLACES)
def test_work_begins_with_a_collector_that_skips_what_was_imported(names: tuple[str, str], words: list[str]) -> None:
    program = _TELLS.format(names=names, words=words)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stdout == "collects True True\n", ended.stderr


def test_a_program_that_uses_this_one_keeps_its_collector_as_it_is() -> None:
    before = gc.get_freeze_count(), gc.isenabled()
    collector.settle()
    assert (gc.get_freeze_count(), gc.isenabled()) == before
