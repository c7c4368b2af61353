"""A few steps of a training looked at: the share of each phase, then a trace of every operation.

The shares are measured first, by the clock of the host and on a GPU also by its own: torch's profiler, which the trace
is from, costs time at each operation.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, get_args

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from transfer_cli.data.batches import Batch
from transfer_cli.engine.steps.clock import Phase

WARM, LOOKED_AT = 10, 5
"""Steps before the first that is looked at, and how many then are: measured, and again traced."""
SYNCHRONISATIONS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "hipStreamSynchronize")
"""What makes the host wait, by the names that the driver gives it."""
READS = "aten::_local_scalar_dense"
"""A number that the host reads from a tensor; on a GPU each is a synchronisation as well."""


@dataclass(frozen=True)
class Profiled:
    """What was found: seconds of a step by phase, and what a traced step did."""

    steps: int
    images: int
    """Of a step."""
    host: dict[Phase, float]
    device: dict[Phase, float]
    """By the clock of a GPU; empty elsewhere."""
    traced: int
    synchronisations: Counter[str]
    """In all traced steps, by name."""
    operations: list[tuple[str, float]]
    """The ten that took longest, each with its share of the time of all."""
    trace: Any
    """Torch's profile."""


class _Mark(NamedTuple):
    """From here on a step is in this phase; None: nobody counts."""

    phase: Phase | None
    host: float
    device: torch.cuda.Event | None


@dataclass
class Profile:
    """The clock of a training whose first steps after a warm-up are looked at; `found` gets what there is to say."""

    device: torch.device
    steps: int
    """That are left of the training."""
    found: Callable[[Profiled], None]
    _done: int = 0
    _images: int = 0
    _marks: list[_Mark] = field(default_factory=list)
    _phases: list[Phase] = field(default_factory=list)
    _traced: int = 0
    _trace: Any = None
    _over: bool = False

    def __post_init__(self) -> None:
        self._warm = min(WARM, self.steps // 3)
        self._looked_at = max(1, min(LOOKED_AT, (self.steps - self._warm) // 2))

    @contextmanager
    def __call__(self, phase: Phase) -> Iterator[None]:
        """Within, the step is in this phase."""
        self._phases.append(phase)
        self._mark(phase)
        try:
            if self._trace is None:
                yield
            else:
                with record_function(phase):
                    yield
        finally:
            self._phases.pop()
            self._mark(self._phases[-1] if self._phases else "other")

    def batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of an epoch; what comes between two epochs is no step's."""
        while True:
            with self("data"):
                batch = next(batches, None)
            if batch is None:
                break
            self._images = max(self._images, len(batch) if batch.whole is None else batch.whole)
            yield batch
            del batch
        self._mark(None)
        if self._trace is not None and self._traced:
            self._finish()

    def step(self) -> None:
        """One more is done: what begins or ends with it."""
        self._done += 1
        if self._over:
            return
        if self._trace is not None:
            self._traced += 1
            if self._traced == self._looked_at:
                self._finish()
        elif self._done == self._warm + self._looked_at:
            self._mark(None)
            self._begin_trace()
        else:
            self._mark("other")

    def _mark(self, phase: Phase | None) -> None:
        if self._over or self._trace is not None or self._done < self._warm:
            return
        event = None
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        self._marks.append(_Mark(phase, time.perf_counter(), event))

    def _begin_trace(self) -> None:
        # Kineto writes what it does to standard error otherwise.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
        self._trace = profile(activities=kinds, acc_events=True)
        self._trace.start()

    def _finish(self) -> None:
        """Say what was found, once."""
        trace, self._over = self._trace, True
        trace.stop()
        self._trace = None
        rows = trace.key_averages()
        counts = Counter({row.key: row.count for row in rows if row.key in (*SYNCHRONISATIONS, READS)})
        self.found(
            Profiled(
                steps=self._looked_at,
                images=self._images,
                host=self._seconds(lambda one, other: other.host - one.host),
                device=self._seconds(_between) if self.device.type == "cuda" else {},
                traced=self._traced,
                synchronisations=counts,
                operations=_longest(rows, self.device),
                trace=trace,
            )
        )

    def _seconds(self, between: Callable[[_Mark, _Mark], float]) -> dict[Phase, float]:
        """Of a step, by phase."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        sums: dict[Phase, float] = {}
        for one, other in pairwise(self._marks):
            if one.phase is not None:
                sums[one.phase] = sums.get(one.phase, 0.0) + between(one, other) / self._looked_at
        return sums


def _between(one: _Mark, other: _Mark) -> float:
    assert one.device is not None and other.device is not None
    return float(one.device.elapsed_time(other.device)) / 1000


def _longest(rows: Any, device: torch.device) -> list[tuple[str, float]]:
    """Operations by their own time, on the GPU where there is one."""
    on_gpu = device.type == "cuda"
    times = {
        row.key: row.self_device_time_total if on_gpu else row.self_cpu_time_total
        for row in rows
        if row.key not in get_args(Phase)
    }
    total = sum(times.values()) or 1
    ordered = sorted(times.items(), key=lambda pair: -pair[1])
    return [(name, spent / total) for name, spent in ordered[:10] if spent > 0]
