"""A teacher's answer in a row: nothing is lost, and rows can be cut, shuffled and put side by side."""

from __future__ import annotations

import pytest
import torch

from transfer_cli.errors import UserError
from transfer_cli.methods.distill.output_rows import Layout, compress, expand, split_teachers

LOGITS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
FEATURES = {"layer": torch.randn(6, 2, 3, 3).bfloat16(), "pool": torch.randn(6, 4)}
SHAPES = (("layer", (2, 3, 3)), ("pool", (4,)))


@pytest.mark.parametrize("top_k", [None, 5, 2])
def test_a_row_gives_back_what_was_packed(top_k: int | None) -> None:
    layout = Layout(5, top_k, SHAPES)
    rows = layout.pack(LOGITS, FEATURES)
    assert rows.shape == (6, layout.width)
    order = torch.tensor([3, 0, 5])
    found = layout.unpack(rows[order])
    expected = LOGITS if top_k is None else expand(compress(LOGITS, top_k), 5)
    assert torch.equal(found.logits, expected[order])
    for name, features in FEATURES.items():
        assert torch.equal(found.features[name], features.float()[order])


def test_top_k_takes_less_room() -> None:
    assert Layout(1000, 10).width == 21


@pytest.mark.parametrize("k", [0, 6])
def test_top_k_is_between_one_and_the_classes(k: int) -> None:
    with pytest.raises(UserError, match=rf"strategy\.teacher\.top_k={k}: the teacher has 5 classes; say 1 to 5"):
        Layout(5, k)


def test_several_teachers_lie_side_by_side() -> None:
    one, two = Layout(5, None, SHAPES), Layout(5, 5)
    rows = torch.cat([one.pack(LOGITS, FEATURES), two.pack(-LOGITS, {})], dim=1)
    found = split_teachers(rows, (one, two))
    assert torch.equal(found.logits, torch.stack([LOGITS, -LOGITS], dim=1))
    assert torch.equal(found.features["pool"], FEATURES["pool"])
    assert split_teachers(one.pack(LOGITS, FEATURES), (one,)).logits.shape == (6, 5)
