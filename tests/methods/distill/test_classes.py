"""Classes matched by name."""

from __future__ import annotations

import pytest
import torch

from transfer_cli.errors import UserError
from transfer_cli.methods.distill.classes import match_classes


def test_reordered_and_superfluous_classes() -> None:
    indices, report = match_classes(["cat", "dog", "emu"], ["dog", "owl", "emu", "cat"])
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert logits[:, indices].tolist() == [[4.0, 1.0, 3.0]]
    assert report == "3 of the teacher's 4 classes are taught"


@pytest.mark.parametrize(
    ("teacher", "indices", "words"), [("ab", [0, 1], "in the same order"), ("ba", [1, 0], "in another order")]
)
def test_the_same_classes(teacher: str, indices: list[int], words: str) -> None:
    match = match_classes(["a", "b"], teacher)
    assert match.indices.tolist() == indices
    assert match.report == f"the teacher has the same 2 classes {words}"


def test_missing_classes_are_named_with_the_nearest() -> None:
    student = ["tabby_cat", "beagle", *(f"plant {i}" for i in range(6))]
    with pytest.raises(UserError) as error:
        match_classes(student, ["beagle", "tabby cat", "rocket"])
    assert str(error.value) == (
        "strategy.teacher: the teacher lacks 7 of the 8 classes: tabby_cat (did you mean tabby cat?), "
        "plant 0, plant 1, plant 2, plant 3 and 2 more."
    )


def test_a_name_that_stands_for_two_classes_of_the_teacher() -> None:
    with pytest.raises(UserError, match="more than one class of the name crane"):
        match_classes(["crane", "owl"], ["crane", "owl", "crane"])
    assert match_classes(["owl"], ["crane", "owl", "crane"]).indices.tolist() == [1]
