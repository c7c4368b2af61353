import multiprocessing
import os
import signal
import subprocess
import threading
import time

import pytest

from transfer_cli.data.reading import workers
from transfer_cli.data.reading.workers import auto_workers, run_jobs
from transfer_cli.errors import RunError


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_results_come_in_order(count: int) -> None:
    def slow_at_first(step: int) -> int:
        time.sleep(0.05 if step == 2 else 0)
        return step * step

    for threads in (False, True):
        assert list(run_jobs(slow_at_first, range(2, 9), count, threads=threads)) == [4, 9, 16, 25, 36, 49, 64]


def test_no_work_starts_no_process() -> None:
    assert list(run_jobs(str, range(3, 3), 2, threads=False)) == []
    assert not multiprocessing.active_children()


def test_a_dead_worker_is_a_run_error_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)

    def die(step: int) -> int:
        if step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return step

    with pytest.raises(RunError, match=r"exited unexpectedly.*trainer\.workers=0"):
        list(run_jobs(die, range(6), 2, threads=False))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("threads", [False, True])
def test_a_hung_worker_is_a_run_error(monkeypatch: pytest.MonkeyPatch, threads: bool) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)
    monkeypatch.setattr(workers, "TIMEOUT_SECONDS", 2)
    with pytest.raises(RunError, match=r"nothing .*for 2 s"):
        list(run_jobs(lambda step: time.sleep(4 if threads else 600), range(1), 1, threads=threads))


def test_a_worker_that_was_stopped_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a debugger, or by Ctrl-Z in the wrong place: it takes no signal but one."""
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)
    monkeypatch.setattr(workers, "TIMEOUT_SECONDS", 2)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)
    with pytest.raises(RunError, match="nothing for 2 s"):
        list(run_jobs(lambda step: os.kill(os.getpid(), signal.SIGSTOP), range(4), 1, threads=False))
    assert not multiprocessing.active_children()


def test_whoever_leaves_does_not_wait_for_a_read_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POLL_SECONDS", 0.1)
    ends = threading.Event()
    results = run_jobs(lambda step: step == 0 or ends.wait(60), range(4), 1, threads=True)
    next(results)
    started = time.monotonic()
    del results
    assert time.monotonic() - started < 10
    ends.set()


def test_a_slow_worker_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a poll, shorter than the timeout."""
    monkeypatch.setattr(workers, "_POLL_SECONDS", 1)
    assert list(run_jobs(lambda step: time.sleep(1.5) or step, range(1), 1, threads=False)) == [0]


@pytest.mark.parametrize("threads", [False, True])
def test_an_error_of_ours_keeps_its_traceback(threads: bool) -> None:
    def broken(step: int) -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        list(run_jobs(broken, range(2), 1, threads=threads))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_signals_meant_for_the_run_do_not_end_workers(number: signal.Signals) -> None:
    """A scheduler signals every process of a job; the run must still reach its next step and save its state."""

    def job(step: int) -> int:
        time.sleep(0.02)
        return os.getpid()

    results = run_jobs(job, range(40), 1, threads=False)
    worker = next(results)
    subprocess.run(["kill", f"-{number.name.removeprefix('SIG')}", str(worker)], check=True)
    assert list(results) == [worker] * 39


@pytest.mark.parametrize("threads", [False, True])
def test_leaving_an_epoch_early_ends_its_workers(threads: bool) -> None:
    results = run_jobs(lambda step: step, range(100), 2, threads=threads)
    next(results)
    del results
    assert not multiprocessing.active_children()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def test_threads_run_a_few_jobs_ahead_and_no_more() -> None:
    """Results wait in memory until they are used."""
    started: list[int] = []
    results = run_jobs(lambda step: started.append(step), range(100), 2, threads=True)
    next(results)
    time.sleep(0.2)
    assert 2 <= len(started) <= 5


def test_no_sigchld_handler_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's would raise in the middle of whatever runs when a worker dies. It is set once a process."""
    monkeypatch.setattr("torch.utils.data._utils.signal_handling._SIGCHLD_handler_set", False)
    before = signal.getsignal(signal.SIGCHLD)
    list(run_jobs(str, range(2), 1, threads=False))
    assert signal.getsignal(signal.SIGCHLD) == before


def test_auto_workers() -> None:
    assert [auto_workers(threads=False, cpu_count=count) for count in (1, 4, 64)] == [0, 3, 16]
    assert [auto_workers(threads=True, cpu_count=count) for count in (1, 4, 64)] == [1, 3, 16]


class Unshared:
    """What a worker cannot hand over, as images where /dev/shm has 64 kB, a container's."""

    def __reduce__(self) -> str:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def test_no_room_in_shared_memory_is_named() -> None:
    with pytest.raises(RunError, match=r"shared memory, which has no room .*--shm-size.*trainer\.workers=0"):
        list(run_jobs(lambda step: Unshared(), range(4), 2, threads=False))
    assert not multiprocessing.active_children()


def test_no_room_for_locks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing.context import ForkContext

    def no_lock(context: ForkContext) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ForkContext, "Lock", no_lock)
    with pytest.raises(RunError, match=r"no room \(No space left on device\)"):
        list(run_jobs(str, range(4), 2, threads=False))
