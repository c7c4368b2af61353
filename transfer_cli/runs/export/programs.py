"""Exports that carry the whole computation: ONNX, and programs of torch.export. The number of images stays free."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.errors import RunError, first_line
from transfer_cli.extras import need
from transfer_cli.runs.export.quiet import silenced
from transfer_cli.runs.export.subject import INPUT, OUTPUT, Runner, Subject, on_threads

ONNX, QUANTIZED, PROGRAM = "model.onnx", "model.int8.onnx", "model.pt2"
_PROTOBUF_BYTES = 2**31 - 2**20
"""More does not fit into one ONNX file."""
_QUIET = 3


def need_onnx() -> None:
    """Raises UserError naming the extra where a package is missing."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        need(package, "export", "format=onnx")


def write_onnx(subject: Subject, folder: Path) -> None:
    """`model.onnx`. Raises RunError where the network has an operation that cannot be exported."""
    size = sum(tensor.nbytes for tensor in subject.trained.network.state_dict().values())
    try:
        with silenced():
            torch.onnx.export(
                _traced(subject),
                (),
                folder / ONNX,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamo=True,
                external_data=size > _PROTOBUF_BYTES,
                verbose=False,
            )
    except Exception as error:  # a dozen types, of two libraries
        raise _not_exported(subject, error) from error


def open_onnx(folder: Path, name: str, threads: int) -> Runner:
    """An ONNX file as ONNX Runtime computes it."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, _QUIET
    with silenced():
        session = runtime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.generic]) -> NDArray[np.float32]:
        (logits,) = session.run([OUTPUT], {INPUT: images})
        assert isinstance(logits, np.ndarray)
        return logits

    return run


def quantize(folder: Path) -> float:
    """`model.int8.onnx`: weights of linear layers as 8-bit integers, what they take rounded to such as it comes.

    Returns their share of all weights. Convolutions stay: as integers EfficientNet-Lite0's took nine times as long on
    two x86 cores, and 15 points of accuracy. Raises RunError where the library fails.
    """
    try:
        with silenced():
            library: Any = importlib.import_module("onnxruntime.quantization")
            # Unsigned weights: products of signed and unsigned ones overflow on processors without VNNI.
            library.quantize_dynamic(
                folder / ONNX,
                folder / QUANTIZED,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=library.QuantType.QUInt8,
            )
            before, after = (_float_weights(folder / name) for name in (ONNX, QUANTIZED))
    except Exception as error:  # the library has no types of its own
        raise RunError(
            f"export.quantize=int8: ONNX Runtime cannot quantise this model ({first_line(error)}); nothing is kept."
        ) from error
    return 1 - after / before


def _float_weights(file: Path) -> int:
    """How many numbers of 32 bits an ONNX file holds."""
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(str(file))
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    return sum(math.prod(tensor.dims) for tensor in floats)


def write_program(subject: Subject, folder: Path) -> None:
    """`model.pt2`. Raises RunError where the network cannot be exported."""
    try:
        with silenced():
            torch.export.save(_traced(subject), folder / PROGRAM)
    except Exception as error:  # torch raises many types
        raise _not_exported(subject, error) from error


def open_program(folder: Path, threads: int) -> Runner:
    """A program as torch computes it."""
    with silenced():
        module = torch.export.load(folder / PROGRAM).module()
    return on_threads(module, threads)


def _traced(subject: Subject) -> torch.export.ExportedProgram:
    """The program, for any number of images."""
    p = subject.about.preprocessing
    # Two: a batch of one would be taken for a constant.
    example = torch.from_numpy(
        subject.inputs(torch.zeros(2, p.channels, p.crop_pixels, p.crop_pixels, dtype=torch.uint8))
    )
    with torch.no_grad():
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(subject.module, (example,), dynamic_shapes=({0: batch},))
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else []:
            # The lines of Python that it comes from: hundreds of paths of this machine, which both formats would keep.
            node.meta.pop("stack_trace", None)
    return program


def _not_exported(subject: Subject, error: Exception) -> RunError:
    return RunError(
        f"{subject.about.name} cannot be exported as {subject.format}: torch says "
        f"{type(error).__name__}: {first_line(error)}. Another format may work; nothing is kept."
    )
