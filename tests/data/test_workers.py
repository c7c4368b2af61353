import multiprocessing
import os
import signal
import subprocess
import time

import pytest

from transfer_cli.data import workers
from transfer_cli.data.workers import auto_workers, run_jobs
from transfer_cli.errors import RunError


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_results_come_in_order(count: int) -> None:
    def slow_at_first(step: int) -> int:
        time.sleep(0.05 if step == 2 else 0)
        return step * step

    assert list(run_jobs(slow_at_first, range(2, 9), count)) == [4, 9, 16, 25, 36, 49, 64]


def test_no_work_starts_no_process() -> None:
    assert list(run_jobs(str, range(3, 3), 2)) == []
    assert not multiprocessing.active_children()


def test_a_dead_worker_is_a_run_error_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)

    def die(step: int) -> int:
        if step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return step

    with pytest.raises(RunError, match=r"exited unexpectedly.*trainer\.workers=0"):
        list(run_jobs(die, range(6), 2))
    assert not multiprocessing.active_children()


def test_a_hung_worker_is_a_run_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)
    monkeypatch.setattr(workers, "TIMEOUT_SECONDS", 2)
    with pytest.raises(RunError, match="sent nothing for 2 s"):
        list(run_jobs(lambda step: time.sleep(600), range(1), 1))


def test_a_slow_worker_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a poll, shorter than the timeout."""
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)
    assert list(run_jobs(lambda step: time.sleep(1.5) or step, range(1), 1)) == [0]


def test_an_error_of_ours_keeps_its_traceback() -> None:
    def broken(step: int) -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        list(run_jobs(broken, range(2), 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_meant_for_the_run_do_not_end_workers(number: signal.Signals) -> None:
    """A scheduler signals every process of a job; the run must still reach its next step and save its state."""

    def job(step: int) -> int:
        time.sleep(0.02)
        return os.getpid()

    results = run_jobs(job, range(40), 1)
    worker = next(results)
    subprocess.run(["kill", f"-{number.name.removeprefix('SIG')}", str(worker)], check=True)
    assert list(results) == [worker] * 39


def test_leaving_an_epoch_early_ends_its_workers() -> None:
    results = run_jobs(lambda step: step, range(100), 2)
    next(results)
    del results
    assert not multiprocessing.active_children()


def test_no_sigchld_handler_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's would raise in the middle of whatever runs when a worker dies. It is set once a process."""
    monkeypatch.setattr("torch.utils.data._utils.signal_handling._SIGCHLD_handler_set", False)
    before = signal.getsignal(signal.SIGCHLD)
    list(run_jobs(str, range(2), 1))
    assert signal.getsignal(signal.SIGCHLD) == before


def test_auto_workers() -> None:
    assert auto_workers(files=False, cpu_count=64) == 0
    assert [auto_workers(files=True, cpu_count=count) for count in (1, 4, 64)] == [0, 3, 16]
