"""Contact sheets: what training shows of some samples, and groups of images that look alike."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transfer_cli.files import atomic_write_bytes
from transfer_cli.records.text import printable

Pixels = NDArray[np.uint8]
SAMPLES = "samples.png"

_CELLS = 96, 192
_GAP, _LINE = 6, 20
_TEXT = "#333333"


def samples(originals: Sequence[Pixels], views: Pixels, names: Sequence[str], path: Path) -> None:
    """Write a PNG of N rows: original [h, w, 3], its class, and its views of [N, V, S, S, 3]; all uint8."""
    columns = ["original", *(f"epoch {epoch}" for epoch in range(1, views.shape[1] + 1))]
    rows = [[original, *views[row]] for row, original in enumerate(originals)]
    _write(columns, rows, names, int(np.clip(views.shape[2], *_CELLS)), path)


def groups(rows: Sequence[Sequence[Pixels]], names: Sequence[str], path: Path) -> None:
    """Write a PNG of a row for each group: its name, and some of its images [h, w, 3] uint8."""
    _write([], rows, names, _CELLS[0], path)


def _write(headings: list[str], rows: Sequence[Sequence[Pixels]], names: Sequence[str], side: int, path: Path) -> None:
    """A table of squares of `side` pixels, each row's name below its first."""
    columns = max(map(len, rows))
    step_x, step_y = side + _GAP, side + _LINE + _GAP
    picture = Image.new("RGB", (columns * step_x + _GAP, len(rows) * step_y + _LINE + _GAP), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for column, heading in enumerate(headings):
        draw.text((column * step_x + _GAP, 4), heading, fill=_TEXT, font=font)
    for row, (squares, name) in enumerate(zip(rows, names, strict=True)):
        top = row * step_y + _LINE
        for column, pixels in enumerate(squares):
            picture.paste(_fitted(pixels, side), (column * step_x + _GAP, top))
        room = side if headings else columns * step_x
        draw.text((_GAP, top + side + 2), _fitting(name, room, font), fill=_TEXT, font=font)
    data = io.BytesIO()
    picture.save(data, "PNG")
    atomic_write_bytes(path, data.getvalue())


def _fitted(pixels: Pixels, side: int) -> Image.Image:
    """A square of `side` pixels with the whole image on grey."""
    image = Image.fromarray(_seen(pixels))
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    square = Image.new("RGB", (side, side), "#dddddd")
    square.paste(image.resize((width, height)), ((side - width) // 2, (side - height) // 2))
    return square


def _seen(pixels: Pixels) -> Pixels:
    """RGB for people: the first three of more channels, of one or two the first in grey."""
    return pixels[..., :3] if pixels.shape[2] > 2 else np.repeat(pixels[..., :1], 3, axis=2)


def _fitting(name: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`name` on one line, cut to `width` pixels."""
    name = printable(name.replace("\n", " "))
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + "...") > width:
        name = name[:-1]
    return name + "..."
