"""`example.py` beside an export: inference without us, in some twenty lines made from the run."""

from __future__ import annotations

from typing import Any

from transfer_cli.runs.export import plain, programs
from transfer_cli.runs.export.description import DESCRIPTION
from transfer_cli.runs.export.subject import INPUT, Subject

EXAMPLE = "example.py"

_RESIZED = {
    "crop": "({r}, int({r} * h / w)) if w <= h else (int({r} * w / h), {r})",
    "squash": "({r}, {r})",
    "pad": "tuple(max(round(side / (max(w, h) / {r})), 1) for side in (w, h))",
}
_TEMPLATE = '''"""Labels images with the model beside it, without transfer-run: python {example} {files} ..."""

import json
import sys
from pathlib import Path

import numpy as np
{imports}{pillow}

HERE = Path(__file__).resolve().parent
ABOUT = json.loads((HERE / "{description}").read_text(encoding="utf-8"))
{load}

{read}{prepare}
    logits = {call}
    powers = np.exp(logits - logits.max())
    best = int(powers.argmax())
    print(name, ABOUT["classes"][best], f"{{powers[best] / powers.sum():.4f}}")
'''
_PICTURES = """\
for name in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(name)).convert("RGB")
    w, h = image.size
    image = image.resize({resized}, Image.Resampling.{filter})
    corner = [-round((side - {s}) / 2) if side >= {s} else ({s} - side) // 2 for side in image.size]
    square = Image.new("RGB", ({s}, {s}), {ground})
    square.paste(image, tuple(corner))
    pixels = np.asarray(square)
"""
_ARRAYS = """\
for name in sys.argv[1:]:
    # uint8 [{s}, {s}, {channels}], as the steps in {description} say.
    pixels = np.load(name)
"""
_NORMALISED = """\
    pixels = (pixels / np.float32(255) - np.float32(ABOUT["mean"])) / np.float32(ABOUT["std"])
"""


def example_of(subject: Subject) -> str:
    """The text of a program that needs numpy, Pillow and what runs the format."""
    p, command = subject.about.preprocessing, subject.command
    imports, load, call = _runtime(subject)
    prepare = "" if command.preprocessing else _NORMALISED
    channels_last = command.preprocessing and command.layout == "nhwc"
    prepare += f"    batch = np.ascontiguousarray(pixels{'' if channels_last else '.transpose(2, 0, 1)'}[None])"
    pictures = subject.about.channels is None
    read = (_PICTURES if pictures else _ARRAYS).format(
        resized=_RESIZED[p.fit].format(r=p.resize_pixels),
        filter=p.interpolation.upper(),
        s=p.crop_pixels,
        ground=p.ground,
        channels=p.channels,
        description=DESCRIPTION,
    )
    return _TEMPLATE.format(
        example=EXAMPLE,
        files="photo.jpg" if pictures else "pixels.npy",
        pillow="\nfrom PIL import Image, ImageOps" if pictures else "",
        description=DESCRIPTION,
        imports=imports,
        load=load,
        read=read,
        prepare=prepare,
        call=call,
    )


def _runtime(subject: Subject) -> tuple[str, str, str]:
    """What is imported, how the model is loaded as `model`, and what gives the logits of `batch`."""
    form = subject.format
    if form == "onnx":
        session = f'onnxruntime.InferenceSession(HERE / "{programs.ONNX}", providers=["CPUExecutionProvider"])'
        return "import onnxruntime", f"MODEL = {session}", f'MODEL.run(None, {{"{INPUT}": batch}})[0][0]'
    call = "MODEL(torch.from_numpy(batch)).detach().numpy()[0]"
    if form == "torch_export":
        return "import torch", f'MODEL = torch.export.load(HERE / "{programs.PROGRAM}").module()', call
    return _of_weights(*plain.library_of(subject), len(subject.about.classes), form, call)


def _of_weights(
    library: str, name: str, arguments: dict[str, Any], classes: int, form: str, call: str
) -> tuple[str, str, str]:
    words = "".join(f", {key}={value!r}" for key, value in arguments.items())
    timm_model = f'timm.create_model("{name.split(".")[0]}", num_classes={classes}{words}'
    if library == "timm" and form == "timm":
        load = f'MODEL = {timm_model}, checkpoint_path=str(HERE / "{plain.WEIGHTS}")).eval()'
        return "import timm\nimport torch", load, call
    made = (
        f"{timm_model})"
        if library == "timm"
        else f'torchvision.models.get_model("{name}", weights=None, num_classes={classes}{words})'
    )
    state = (
        f'torch.load(HERE / "{plain.STATE}", weights_only=True)'
        if form == "timm"
        else f'safetensors.torch.load_file(HERE / "{plain.WEIGHTS}")'
    )
    imports = ["torch", library, *(["safetensors.torch"] if form == "safetensors" else [])]
    lines = "\n".join(f"import {package}" for package in sorted(imports))
    return lines, f"MODEL = {made}.eval()\nMODEL.load_state_dict({state})", call
