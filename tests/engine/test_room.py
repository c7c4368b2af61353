"""What fits into memory is remembered, the smallest of what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer_cli.engine import room
from transfer_cli.errors import RunError


def test_the_smallest_number_is_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    assert room.recall(folder) is None
    for images in (8, 4, 6):
        room.remember(folder, images)
    assert room.recall(folder) == 4


@pytest.mark.parametrize("content", ["", "[]", '{"images": 0}', '{"images": "4"}', "{}"])
def test_what_cannot_be_read_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / room.FILE).write_text(content)
    assert room.recall(tmp_path) is None


def test_half_of_one_image_is_not_tried() -> None:
    assert [room.half(images, "why") for images in (2, 3, 9)] == [1, 2, 5]
    with pytest.raises(RunError, match=r"one image at a time \(why\)"):
        room.half(1, "why")
