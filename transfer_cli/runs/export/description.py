"""`preprocessing.json`: all that whoever uses the file has to know, in values and in sentences."""

from __future__ import annotations

from typing import Any

from transfer_cli.runs.export.plain import library_of
from transfer_cli.runs.export.subject import INPUT, OUTPUT, Subject

DESCRIPTION = "preprocessing.json"


def describe_use(subject: Subject) -> dict[str, Any]:
    """The classes in the order of the logits, what is done to an image, and what the model takes and gives."""
    about, p = subject.about, subject.about.preprocessing
    library, name, arguments = library_of(subject)
    return {
        "classes": [*about.classes],
        "size": p.crop_pixels,
        "fit": p.fit,
        "resize": p.resize_pixels,
        "interpolation": p.interpolation,
        "background": [*p.ground],
        "mean": [*p.mean],
        "std": [*p.std],
        "steps": steps(subject),
        "input": {"name": INPUT, **_input(subject)},
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", len(about.classes)]},
        "architecture": {"library": library, "name": name, "arguments": arguments},
    }


def steps(subject: Subject) -> list[str]:
    """What happens to an image, in order."""
    p = subject.about.preprocessing
    resized = {
        "crop": f"the shorter side becomes {p.resize_pixels} pixels, the longer one in proportion, rounded down",
        "squash": f"both sides become {p.resize_pixels} pixels",
        "pad": f"the longer side becomes {p.resize_pixels} pixels, the shorter one in proportion",
    }[p.fit]
    normalised = f"divide by 255, subtract the mean {[*p.mean]}, divide by the deviation {[*p.std]}, by channel"
    return [
        "decode to RGB, 8 bits a channel, turned upright as EXIF says, transparent parts on white"
        if subject.about.channels is None
        else f"read {p.channels} channels as they are, 8 bits a channel",
        f"resize with Pillow's {p.interpolation} filter: {resized}",
        f"cut {p.crop_pixels} x {p.crop_pixels} pixels out of the centre, on a ground of {[*p.ground]}",
        f"{normalised} (inside the model)" if subject.command.preprocessing else normalised,
    ]


def _input(subject: Subject) -> dict[str, Any]:
    p, command = subject.about.preprocessing, subject.command
    size, channels = p.crop_pixels, p.channels
    if command.preprocessing and command.layout == "nhwc":
        return {"dtype": "uint8", "layout": "NHWC", "shape": ["batch", size, size, channels]}
    dtype = "uint8" if command.preprocessing else "float32"
    return {"dtype": dtype, "layout": "NCHW", "shape": ["batch", channels, size, size]}
