"""A teacher's outputs for a sample as one row of numbers: its logits, all or the largest, and features.

Rows are stored, indexed and moved alike, whatever outputs the terms of a loss need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from transfer_cli.errors import UserError
from transfer_cli.methods.distill.distillation import Outputs


@dataclass(frozen=True)
class Layout:
    """Where a teacher's outputs are in a row of `width` float32 numbers.

    `top_k` k: only the k largest of the K logits, their classes, and the log-sum-exp of the rest. `features` names
    stages with the shapes of their features without the batch.
    """

    classes: int
    top_k: int | None = None
    features: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if self.top_k is not None and not 1 <= self.top_k <= self.classes:
            raise UserError(
                f"strategy.teacher.top_k={self.top_k}: the teacher has {self.classes} classes; say 1 to {self.classes}."
            )

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self._logits_width + sum(math.prod(shape) for _, shape in self.features)

    @property
    def _logits_width(self) -> int:
        return self.classes if self.top_k is None else 2 * self.top_k + 1

    def pack(self, logits: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Rows [B, width] of logits [B, K] and features [B, ...]; float32 holds what half precision computed."""
        parts = [logits.float()]
        if self.top_k is not None:
            top = compress(parts[0], self.top_k)
            parts = [top.values, top.indices.float(), top.rest[:, None]]
        return torch.cat([*parts, *(features[name].float().flatten(1) for name, _ in self.features)], dim=1)

    def unpack(self, rows: Tensor) -> Outputs:
        """Logits [B, K], of top k with the rest spread evenly, and the features in their shapes."""
        widths = [self._logits_width, *(math.prod(shape) for _, shape in self.features)]
        logits, *flat = rows.split(widths, dim=1)
        if self.top_k is not None:
            k = self.top_k
            logits = expand(TopLogits(logits[:, :k], logits[:, k : 2 * k].to(torch.int32), logits[:, -1]), self.classes)
        shaped = zip(self.features, flat, strict=True)
        return Outputs(logits, {name: part.unflatten(1, shape) for (name, shape), part in shaped})


def split_teachers(rows: Tensor, layouts: tuple[Layout, ...]) -> Outputs:
    """The outputs of R teachers, their rows side by side: logits [B, R, K] ([B, K] of one) and the first's features."""
    parts = rows.split([layout.width for layout in layouts], dim=1)
    outputs = [layout.unpack(part) for layout, part in zip(layouts, parts, strict=True)]
    if len(outputs) == 1:
        return outputs[0]
    return Outputs(torch.stack([one.logits for one in outputs], dim=1), outputs[0].features)


class TopLogits(NamedTuple):
    """`values` [B, k] in falling order, their `indices` [B, k] int32, and `rest` [B], log-sum-exp of the others."""

    values: Tensor
    indices: Tensor
    rest: Tensor


def compress(logits: Tensor, k: int) -> TopLogits:
    """The k largest of logits [B, K], 1 <= k <= K, in their own dtype."""
    values, indices = logits.sort(dim=1, descending=True, stable=True)
    rest = values[:, k:].float().logsumexp(1).to(logits.dtype)
    return TopLogits(values[:, :k].contiguous(), indices[:, :k].to(torch.int32).contiguous(), rest)


def expand(stored: TopLogits, classes: int) -> Tensor:
    """Logits [B, K] whose softmax at any temperature T is softmax(expand(...) / T); exact where k = K."""
    others = classes - stored.values.shape[1]
    even = (stored.rest - math.log(max(others, 1)))[:, None].expand(-1, classes)
    return even.scatter(1, stored.indices.long(), stored.values)
