"""Which of a teacher's classes are the student's: matched by name, so that order and extra classes do not matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from transfer_cli.errors import UserError, nearest

SHOWN = 5


class ClassMatch(NamedTuple):
    """`indices` [K] int64: teacher_logits[:, indices] belong to the student's classes. `report` describes the match."""

    indices: Tensor
    report: str


def match_classes(student: Sequence[str], teacher: Sequence[str]) -> ClassMatch:
    """The teacher's index of each of the student's K classes.

    Of more classes the student's are taken out: its softmax then gives probabilities under the condition that the
    class is one of these.
    Raises UserError, naming up to five with the nearest names, for classes that the teacher lacks or has twice.
    """
    positions = {name: position for position, name in enumerate(teacher)}
    missing = [name for name in student if name not in positions]
    if missing:
        what = f"lacks {len(missing)} of the {len(student)} classes"
        raise UserError(f"strategy.teacher: the teacher {what}: {_listed([_hinted(n, teacher) for n in missing])}.")
    times = Counter(teacher)
    twice = [name for name in student if times[name] > 1]
    if twice:
        raise UserError(f"strategy.teacher: the teacher has more than one class of the name {_listed(twice)}.")
    indices = [positions[name] for name in student]
    return ClassMatch(torch.tensor(indices, dtype=torch.int64), _report(indices, len(teacher)))


def _report(indices: list[int], teacher_classes: int) -> str:
    if indices == list(range(teacher_classes)):
        return f"the teacher has the same {teacher_classes} classes in the same order"
    if len(indices) == teacher_classes:
        return f"the teacher has the same {teacher_classes} classes in another order"
    return f"{len(indices)} of the teacher's {teacher_classes} classes are taught"


def _hinted(name: str, teacher: Sequence[str]) -> str:
    near = nearest(name, teacher)
    return f"{name} (did you mean {' or '.join(near)}?)" if near else name


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
