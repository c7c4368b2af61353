"""What is said of the keys of the modes that use a trained model: `predict` and `export`."""

from __future__ import annotations

from transfer_cli.config.auto import AUTO
from transfer_cli.config.schema import Experiment

STREAM = "-"
"""As `input` or `output`: standard input, standard output."""


def export_format(e: Experiment) -> str:
    """What mode=export writes: onnx where nothing is said."""
    return "onnx" if e.format == AUTO else e.format


def export_problems(experiment: Experiment) -> list[tuple[bool, str]]:
    """Settings that not every format has: (whether it is so, what to say)."""
    e, form = experiment.export, export_format(experiment)
    programs = form in ("onnx", "torch_export")
    return [
        (
            e.quantize != "none" and form != "onnx",
            f"export.quantize={e.quantize}: only format=onnx is quantised.",
        ),
        (
            e.preprocessing and not programs,
            f"export.preprocessing=true: format={form} holds weights alone; onnx and torch_export hold a "
            "program that preprocessing can be a part of. It is described beside every file.",
        ),
        (
            e.layout != "nhwc" and not e.preprocessing,
            f"export.layout={e.layout}: only read with export.preprocessing=true; without it images are NCHW.",
        ),
    ]
