"""The ledger of a sweep: which job of a command is which of those that are there, and with which settings."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import experiment
from transfer_cli.config.finetune import Finetune
from transfer_cli.sweeps.jobs import Job
from transfer_cli.sweeps.ledger import Ledger, joined, of_command, read_ledger


def job(identity: str, *words: str, more: tuple[str, ...] = ()) -> Job:
    """`more`: what nobody said, since it was the default then."""
    return Job(identity, f"of-{identity}", words, experiment(*words, *more))


def averages(ledger: Ledger) -> dict[str, object]:
    found = {}
    for name, one in ledger.jobs.items():
        assert isinstance(one.experiment.strategy, Finetune)
        found[name] = one.experiment.strategy.ema
    return found


def test_jobs_of_a_sweep_have_the_defaults_that_it_began_with(tmp_path: Path) -> None:
    """Those that wait, whatever program is started now, and new ones beside them."""
    then = ("strategy.ema=0.5",)
    Ledger({"of-a": job("a", "seed=0", more=then), "of-b": job("b", "seed=1", more=then)}).write(tmp_path)
    # What is auto has another identity.
    jobs = [job("c", "seed=0"), job("d", "seed=1"), job("e", "seed=2"), job("f", "seed=3", "strategy.ema=0")]
    for _ in range(2):
        found = joined(tmp_path, read_ledger(tmp_path), jobs, "")
        assert averages(found) == {"of-a": 0.5, "of-b": 0.5, "of-e": 0.5, "of-f": 0.0}
        assert [one.name for one in of_command(found, jobs)] == ["of-a", "of-b", "of-e", "of-f"]
        found.write(tmp_path)


def test_a_new_sweep_leaves_open_what_its_jobs_choose(tmp_path: Path) -> None:
    jobs = [job("a", "seed=0"), job("b", "seed=1")]
    for _ in range(2):
        found = joined(tmp_path, read_ledger(tmp_path), jobs, "")
        assert averages(found) == {"of-a": "auto", "of-b": "auto"}
        found.write(tmp_path)
