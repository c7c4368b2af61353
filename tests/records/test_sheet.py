"""A contact sheet holds every view; how it looks was looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer_cli.records.sheet import samples


def flat(level: tuple[int, int, int], *shape: int) -> np.ndarray:
    return np.broadcast_to(np.array(level, np.uint8), (*shape, 3)).copy()


@pytest.mark.parametrize("size", [8, 224, 600])
def test_rows_are_samples_and_columns_the_original_and_its_views(tmp_path: Path, size: int) -> None:
    originals = [flat((200, 0, 0), 30, 60), flat((0, 200, 0), 300, 100)]
    colours = [[(10, 20, 30 * k) for k in range(3)], [(50, 60, 30 * k) for k in range(3)]]
    views = np.stack([np.stack([flat(colour, size, size) for colour in row]) for row in colours])
    samples(originals, views, ["a\nb", "花" * 80], tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as image:
        assert image.format == "PNG"
        picture = np.asarray(image.convert("RGB"))
    places = {}
    for colour in [(200, 0, 0), (0, 200, 0), *colours[0], *colours[1]]:
        ys, xs = (picture == colour).all(-1).nonzero()
        assert len(ys) > 1000, colour
        places[colour] = (ys.mean(), xs.mean())
    first, second = ([original, *row] for original, row in zip([(200, 0, 0), (0, 200, 0)], colours, strict=True))
    for row in (first, second):
        assert [places[colour][1] for colour in row] == sorted(places[colour][1] for colour in row)
        assert np.ptp([places[colour][0] for colour in row]) < 2
    assert places[first[0]][0] < places[second[0]][0]


def test_originals_keep_their_aspect(tmp_path: Path) -> None:
    samples([flat((200, 0, 0), 30, 60)], np.zeros((1, 1, 100, 100, 3), np.uint8), [""], tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as image:
        ys, xs = (np.asarray(image) == (200, 0, 0)).all(-1).nonzero()
    assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (100, 50)


def test_matplotlib_is_not_imported(tmp_path: Path) -> None:
    code = f"""
import sys, numpy as np; from pathlib import Path; from transfer_cli.records import sheet
views = np.zeros((1, 2, 4, 4, 3), np.uint8)
sheet.samples([views[0, 0]], views, "a", Path({str(tmp_path)!r}) / "s.png")
assert "matplotlib" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(__file__).parents[2])
