"""mode=export: a run's model as a file for others, compared with the run and timed before it is called done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli import __version__
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.extract import Extract
from transfer_cli.config.schema import Experiment
from transfer_cli.config.using import export_format
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, RunError, UserError
from transfer_cli.files import atomic_write_text, file_sha256, write_json
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words, percent
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.export import programs
from transfer_cli.runs.export.check import (
    RELATIVE_TOLERANCE,
    TOLERANCE,
    Cost,
    allowed,
    cost_of,
    largest_difference,
    run_on,
)
from transfer_cli.runs.export.description import DESCRIPTION, describe_use
from transfer_cli.runs.export.example import EXAMPLE, example_of
from transfer_cli.runs.export.folder import check_target, made_whole, write_report
from transfer_cli.runs.export.formats import FORMATS, Format
from transfer_cli.runs.export.latency import Timing, measure
from transfer_cli.runs.export.samples import Samples, gather
from transfer_cli.runs.export.subject import Subject, load_subject
from transfer_cli.runs.reports.run_card import leave_card
from transfer_cli.runs.saved_model import WEIGHTS, warn_of_unread

_IMAGES, _IMAGES_FOR_ACCURACY = 100, 1000
_WORTH_IT = 0.1


@dataclass
class Report:
    """What is found out about an export."""

    difference: float
    allowed: str
    """In words."""
    cost: Cost | None = None
    linear_share: float = 0.0
    """Of the weights, those that int8 makes smaller."""
    timings: list[Timing] = field(default_factory=list)


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Write the model, its description and an example into a folder of their own; nothing where it differs."""
    e = experiment
    assert isinstance(e.run, str)
    directory, reporter = Path(e.run), Reporter(quiet=e.quiet)
    form = FORMATS[export_format(e)]
    form.need()
    target = Path(e.output) if e.output else directory / "export" / export_format(e)
    check_target(target)
    warn_of_unread(overrides, reporter, "dataset", "seed", "split", "trainer", but="dataset.max_pixels")
    subject = load_subject(directory, e)
    form.check(subject)
    most = _IMAGES if e.export.quantize == "none" else _IMAGES_FOR_ACCURACY
    samples = gather(e, directory, subject.about, _IMAGES, most, reporter)
    reporter.say(f"export    {subject.about.name} as {subject.format}, compared on {samples.origin}")
    if subject.about.precision != "fp32":
        own = subject.about.precision
        reporter.say(f"precision fp32, as is what it is compared with; the run itself predicts in {own}")
    try:
        with made_whole(target) as folder:
            report = _export(subject, form, folder, samples)
            _write_words(subject, folder, samples, report)
    except OSError as error:
        raise RunError(f"{target}: cannot be written ({error.strerror or error}).") from error
    if target.resolve().is_relative_to(directory.resolve()):
        # Which says how it is used.
        leave_card(directory, reporter.warn)
    _say(target, samples, report, reporter)
    return EXIT_OK


def _export(subject: Subject, form: Format, folder: Path, samples: Samples) -> Report:
    """Write the model, open it as others do, and compare. Raises RunError where it differs."""
    expected = subject.logits(samples.pixels)
    form.write(subject, folder)
    threads = torch.get_num_threads()
    found = run_on(lambda: form.open(subject, folder, threads), subject, samples.pixels)
    difference = largest_difference(expected, found, f"format={subject.format}", _advice(subject.run))
    report = Report(difference, allowed(expected))
    if subject.command.quantize == "int8":
        report.linear_share = programs.quantize(folder)
        rounded = run_on(
            lambda: programs.open_onnx(folder, programs.QUANTIZED, threads), subject, samples.pixels, alike=False
        )
        report.cost = cost_of(expected, rounded, samples)
    if subject.command.latency:
        report.timings = _timings(subject, form, folder, subject.inputs(samples.pixels[:64]))
    return report


def _advice(run: Path) -> str:
    """What helps where logits differ by rounding; nothing where the run does not say how it was made."""
    try:
        strategy = saved_experiment(run).strategy
    except UserError:
        return ""
    if not (isinstance(strategy, Extract) and strategy.standardize):
        return ""
    return (
        " A head fitted to standardised features may magnify rounding, of small images above all: one of "
        "strategy.standardize=false or a larger image_size may do without."
    )


def _timings(subject: Subject, form: Format, folder: Path, inputs: NDArray[np.generic]) -> list[Timing]:
    def check_stop() -> None:
        stop.check("while the export was timed; nothing is kept")

    with Stop() as stop:
        timings = measure("fp32", lambda threads: form.open(subject, folder, threads), inputs, check_stop)
        if subject.command.quantize == "int8":
            timings += measure(
                "int8", lambda threads: programs.open_onnx(folder, programs.QUANTIZED, threads), inputs, check_stop
            )
    return timings


def _write_words(subject: Subject, folder: Path, samples: Samples, report: Report) -> None:
    """The description, the example, and what was found out."""
    write_json(folder / DESCRIPTION, describe_use(subject))
    atomic_write_text(folder / EXAMPLE, example_of(subject))
    found: dict[str, Any] = {
        "run": str(subject.run),
        "model_sha256": file_sha256(subject.run / WEIGHTS),
        "format": subject.format,
        "preprocessing_inside": subject.command.preprocessing,
        "precision": "fp32",
        "compared": {
            "images": len(samples.pixels),
            "of": samples.origin,
            "real": samples.real,
            "largest_difference": report.difference,
            "tolerance": TOLERANCE,
            "relative_tolerance": RELATIVE_TOLERANCE,
        },
        "int8": report.cost and {"share_of_weights": report.linear_share, **report.cost.to_dict()},
        "latency": [{**one._asdict(), "images_per_second": one.images_per_second} for one in report.timings],
        "versions": {"transfer-run": __version__, "torch": torch.__version__},
    }
    write_report(folder, found)


def _say(target: Path, samples: Samples, report: Report, reporter: Reporter) -> None:
    reporter.say(
        f"checked   logits of {len(samples.pixels):,} images are the run's to {report.difference:.1e} "
        f"({report.allowed})"
    )
    if report.cost is not None:
        reporter.say(f"int8      {percent(report.linear_share).strip()} of the weights; {report.cost}")
        if report.linear_share < _WORTH_IT:
            reporter.warn("export.quantize=int8 gains next to nothing here: only linear layers get smaller by it")
    if report.timings:
        rows = [
            [one.model, str(one.threads), str(one.batch), f"{one.milliseconds:.2f}", f"{one.images_per_second:.1f}"]
            for one in report.timings
        ]
        reporter.table("latency, medians", ["model", "threads", "batch", "ms", "images/s"], rows)
    files = [(file.name, in_words(file.stat().st_size)) for file in sorted(target.iterdir())]
    reporter.say("files     " + ", ".join(f"{name} ({size})" for name, size in files))
    reporter.result(target)
