"""What is said of the keys of the modes that use a trained model: `predict` and `export`."""

from __future__ import annotations

from transfer_cli.config.schema import ExportCommand

STREAM = "-"
"""As `input` or `output`: standard input, standard output."""


def export_problems(e: ExportCommand) -> list[tuple[bool, str]]:
    """Settings that not every format has: (whether it is so, what to say)."""
    programs = e.format in ("onnx", "torch_export")
    return [
        (
            e.quantize != "none" and e.format != "onnx",
            f"export.quantize={e.quantize}: only export.format=onnx is quantised.",
        ),
        (
            e.preprocessing and not programs,
            f"export.preprocessing=true: export.format={e.format} holds weights alone; onnx and torch_export hold a "
            "program that preprocessing can be a part of. It is described beside every file.",
        ),
        (
            e.layout != "nhwc" and not e.preprocessing,
            f"export.layout={e.layout}: only read with export.preprocessing=true; without it images are NCHW.",
        ),
    ]
