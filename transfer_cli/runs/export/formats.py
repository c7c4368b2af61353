"""The formats by name: what each writes, and how what it wrote is opened again without anything of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.runs.export import plain, programs
from transfer_cli.runs.export.subject import Runner, Subject

Open = Callable[[Subject, Path, int], Runner]
"""From what was exported, its folder and a number of threads."""


@dataclass(frozen=True)
class Format:
    """One kind of export."""

    write: Callable[[Subject, Path], None]
    open: Open
    need: Callable[[], None] = lambda: None
    """Raises UserError where a package is missing."""
    check: Callable[[Subject], object] = lambda subject: None
    """Raises UserError where the format cannot hold the model."""


FORMATS: dict[str, Format] = {
    "onnx": Format(
        programs.write_onnx,
        lambda subject, folder, threads: programs.open_onnx(folder, programs.ONNX, threads),
        programs.need_onnx,
    ),
    "torch_export": Format(
        programs.write_program, lambda subject, folder, threads: programs.open_program(folder, threads)
    ),
    "timm": Format(plain.write_timm, plain.open_timm, check=plain.plain_tensors),
    "safetensors": Format(plain.write_safetensors, plain.open_safetensors, check=plain.plain_tensors),
}
