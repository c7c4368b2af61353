"""Jobs ahead of their use: in threads where the work releases Python's lock, else in worker processes.

Neither can hang the run; processes leak no errors as tracebacks and do not die of a signal meant for the run.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from transfer_cli.errors import RunError, StalledError, UserError
from transfer_cli.records.text import in_words
from transfer_cli.signals import ENDING, READERS, heard

T = TypeVar("T")

TIMEOUT_SECONDS = 120
AFTER_SIGNAL_SECONDS = 5
"""As long as that reads may take once a signal has asked for an end: schedulers kill soon after."""
_POLL_SECONDS = 5
_MOST_AUTO_WORKERS = 16
_SHARED = Path("/dev/shm")
# Of a queue, and rather more than fewer.
_LOCKS = 4
_SILENT = "Reading images failed: nothing came for {seconds} s. Is the disk there?"
_ADVICE = "Resume the run, with trainer.workers=0 if it happens again (little shared memory is a common cause)."


def cpus() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def auto_workers(threads: bool, cpu_count: int) -> int:
    """How many workers to use: all cores but one, up to 16; at least one thread, for it costs next to nothing."""
    return min(_MOST_AUTO_WORKERS, max(int(threads), cpu_count - 1))


def run_jobs(
    job: Callable[[int], T],
    steps: range,
    workers: int,
    *,
    threads: bool,
    while_waiting: Callable[[], None] = lambda: None,
) -> Iterator[T]:
    """job(step) for each step, in order; computed ahead by worker threads or processes if `workers` > 0.

    `while_waiting` is called each second in which no thread has a result, and may raise. Raises what the job raised
    (from a process only if that is a UserError), and RunError if a worker dies or is silent for TIMEOUT_SECONDS;
    StalledError where a signal came and nothing else did for AFTER_SIGNAL_SECONDS.
    """
    if workers == 0 or len(steps) == 0:
        return map(job, steps)
    if threads:
        return _run_in_threads(job, steps, min(workers, len(steps)), while_waiting)
    return _run_in_processes(job, steps, min(workers, len(steps)))


def _run_in_threads(
    job: Callable[[int], T], steps: range, workers: int, while_waiting: Callable[[], None]
) -> Iterator[T]:
    """`run_jobs` with at least one thread; twice as many results as threads are under way or wait."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix=READERS)
    ahead = iter(steps)
    results = deque(pool.submit(job, step) for step in islice(ahead, 2 * workers))
    hangs, signals = False, heard()
    try:
        while results:
            hangs = True
            _wait_for(results[0], while_waiting, signals)
            hangs = False
            result = results.popleft().result()
            results.extend(pool.submit(job, step) for step in islice(ahead, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        # Whoever leaves early, by a signal, may leave a read that never ends.
        begun = [result for result in results if not result.cancelled()]
        if not hangs and not wait(begun, _POLL_SECONDS).not_done:
            pool.shutdown(wait=True)


def _wait_for(result: Future[T], while_waiting: Callable[[], None], signals: int) -> None:
    """Until a result is there, of a job that began when so many signals had come. Raises RunError in its place."""
    after_signal = 0
    for _ in range(TIMEOUT_SECONDS):
        if wait([result], 1).done:
            return
        while_waiting()
        after_signal += heard() > signals
        if after_signal >= AFTER_SIGNAL_SECONDS:
            raise StalledError(_SILENT.format(seconds=after_signal))
    raise RunError(_SILENT.format(seconds=TIMEOUT_SECONDS))


class _Jobs(Dataset["bytes | UserError | RunError"]):
    """What a worker computes, pickled. An error travels as a value: raised, it would arrive wrapped in a traceback.

    Pickled here, and not by the queue: its tensors move to shared memory then, and where that has no room the queue
    would lose the result without a word to the run.
    """

    def __init__(self, job: Callable[[int], T]) -> None:
        self._job = job

    def __getitem__(self, step: int) -> bytes | UserError | RunError:
        try:
            result = self._job(step)
        except UserError as error:
            return error
        try:
            return bytes(ForkingPickler.dumps(result))
        except (OSError, RuntimeError) as error:
            return RunError(_no_room(error))


def _run_in_processes(job: Callable[[int], T], steps: range, workers: int) -> Iterator[T]:
    """`run_jobs` with at least one worker process."""
    results, signals = _start(job, steps, workers), heard()
    try:
        for _ in steps:
            result = _next(results, signals)
            if isinstance(result, UserError | RunError):
                raise result
            yield pickle.loads(result)
    finally:
        # Not left to the garbage collector: an error's traceback would keep the processes alive.
        results._shutdown_workers()
        for worker in results._workers:
            # One that a signal or a debugger has stopped takes no other signal.
            if worker.is_alive():
                worker.kill()
                worker.join(_POLL_SECONDS)


def _start(job: Callable[[int], T], steps: range, workers: int) -> Any:
    """A DataLoader's iterator over the jobs, its workers started, without torch's SIGCHLD handler.

    torch would raise from that handler in whatever the main thread does when a worker dies, the writing of a
    checkpoint included; `_next` notices a dead worker as well, within _POLL_SECONDS.
    """
    _check_locks(workers)
    before = signal.getsignal(signal.SIGCHLD)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # the user chose the number of workers
        loader = DataLoader(
            _Jobs(job),
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            timeout=_POLL_SECONDS,
            worker_init_fn=_Shield(os.getpid()),
            # Forked workers start in milliseconds and share the data set's tables; they never touch a GPU.
            multiprocessing_context="fork",
        )
        results = iter(loader)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return results


def _check_locks(workers: int) -> None:
    """Raises RunError where there is no room for the locks of the queues, before torch stumbles over it half-way."""
    context = multiprocessing.get_context("fork")
    try:
        # All at once, and let go of at once.
        [context.Lock() for _ in range(_LOCKS * (workers + 1))].clear()
    except OSError as error:
        raise RunError(_no_room(error)) from error


def _no_room(error: OSError | RuntimeError) -> str:
    """What to say where processes could not share memory: how much there is, and what to do."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    room = ""
    if _SHARED.is_dir():
        usage = shutil.disk_usage(_SHARED)
        room = f" {in_words(usage.free)} of {in_words(usage.total)} are free in {_SHARED}."
    return (
        f"Reading images failed: loader workers hand them over in shared memory, which has no room ({reason}).{room} "
        "Give it more (docker run --shm-size=1g), or go on with trainer.workers=0."
    )


def _next(results: Iterator[bytes | UserError | RunError], signals: int) -> bytes | UserError | RunError:
    """The next result of workers that began when so many signals had come.

    Raises RunError if a worker has died or nothing comes for TIMEOUT_SECONDS, and StalledError likewise.
    """
    for _ in range(TIMEOUT_SECONDS // _POLL_SECONDS):
        try:
            return next(results)
        except RuntimeError as error:
            if str(error).startswith("DataLoader timed out"):
                if heard() > signals:
                    raise StalledError(_SILENT.format(seconds=_POLL_SECONDS)) from error
                continue  # the poll found every worker alive: ask the queue again
            if str(error).startswith(("DataLoader worker", "Too many open files")):
                raise RunError(f"Reading images failed: {error}. {_ADVICE}") from error
            raise
    raise RunError(f"Reading images failed: the loader workers sent nothing for {TIMEOUT_SECONDS} s. {_ADVICE}")


class _Shield:
    """Runs first in a worker: signals meant for the run must not end it before the run has saved its state.

    A terminal sends Ctrl-C to every process of the group, a scheduler SIGTERM to every process of the job. Only the
    parent's own SIGTERM ends a worker; if the parent dies, torch's watchdog ends it.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def __call__(self, worker: int) -> None:
        for number in ENDING:
            if number != signal.SIGTERM:
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._wait_for_parent, daemon=True).start()

    def _wait_for_parent(self) -> None:
        """Leave at once on the parent's SIGTERM; blocked signals are taken here, with their sender."""
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != self._parent:
            pass
        os._exit(0)
