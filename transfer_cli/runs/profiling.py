"""`trainer.profile=true`: what a few steps spend their time on, in `profile/` of the run directory and in a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from transfer_cli.engine.devices.device import Compute, device_name
from transfer_cli.engine.fit import Fit
from transfer_cli.engine.steps.clock import Phase
from transfer_cli.engine.steps.profile import READS, Profile, Profiled
from transfer_cli.files import atomic_write_text
from transfer_cli.records.terminal import Reporter

FOLDER, SUMMARY, TRACE = "profile", "summary.txt", "trace.json.gz"
LEAST_STEPS = 2


def watch(fit: Fit, directory: Path, compute: Compute, reporter: Reporter) -> None:
    """Look at steps of what is left of a training, and write what is found; said where there are too few."""
    steps = fit.epochs * fit.batches.steps_per_epoch - fit.progress.cursor.step
    if steps < LEAST_STEPS:
        reporter.warn(f"trainer.profile=true: {steps} steps are too few to look at; two are the least")
        return
    fit.trainer.clock = Profile(compute.device, steps, _writer(directory / FOLDER, compute, reporter))


def _writer(folder: Path, compute: Compute, reporter: Reporter) -> Callable[[Profiled], None]:
    def write(found: Profiled) -> None:
        folder.mkdir(exist_ok=True)
        found.trace.export_chrome_trace(str(folder / TRACE))
        atomic_write_text(folder / SUMMARY, text_of(found, compute, folder / TRACE))
        step, shares = sum(found.host.values()), found.host
        parts = ", ".join(f"{phase} {100 * shares.get(phase, 0.0) / step:.0f} %" for phase in get_args(Phase))
        reporter.say(f"profile   {1000 * step:,.1f} ms a step: {parts}; {_synchronisations(found)}; {folder / SUMMARY}")

    return write


def text_of(found: Profiled, compute: Compute, trace: Path) -> str:
    """One screen."""
    step = sum(found.host.values())
    lines = [
        f"{found.steps} steps of {found.images} images on {device_name(compute.device)}, {compute.precision}: "
        f"{1000 * step:,.1f} ms each, {found.images / step:,.0f} images/s",
        "",
        "phase          host ms" + ("   share   device ms   share" if found.device else "   share"),
        *(_row(phase, found) for phase in get_args(Phase)),
        "",
        f"In {found.traced} traced steps: {_synchronisations(found)}"
        + "".join(f"\n  {name}: {count}" for name, count in sorted(found.synchronisations.items())),
        "",
        f"Longest operations, of the time of all on {'the GPU' if found.device else 'the CPU'}:",
        *(f"  {100 * share:5.1f} %  {name[:80]}" for name, share in found.operations),
        "",
        f"Every operation: {trace} (open it in ui.perfetto.dev)",
    ]
    return "\n".join(lines) + "\n"


def _row(phase: Phase, found: Profiled) -> str:
    cells = [f"{phase:<12}"]
    for seconds, width in ((found.host, 10), (found.device, 12)):
        if seconds:
            own, step = seconds.get(phase, 0.0), sum(seconds.values())
            cells.append(f"{1000 * own:{width}.2f}  {100 * own / step:4.1f} %")
    return "".join(cells)


def _synchronisations(found: Profiled) -> str:
    """How often the host waits in a step, or reads a number where there is nothing to wait for."""
    if not found.device:
        return f"{found.synchronisations[READS] / found.traced:.1f} numbers read by the host a step"
    count = sum(number for name, number in found.synchronisations.items() if name != READS)
    return f"{count / found.traced:.1f} synchronisations a step"
