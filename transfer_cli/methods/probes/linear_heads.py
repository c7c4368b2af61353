"""Many classification heads on the same features, trained together as batched matrix products.

All (rate, decay, seed) heads of a grid see the same batches, so one pass over the features serves them all (DINOv2,
Oquab 2023, arXiv 2304.07193, trains its grid of linear probes so). Gradients are written out: faster than autograd, and
no graph is kept.

Legend: B batch, D feature width, H hidden units, K classes, J heads; inside, N blocks of R rows, a row being one output
of one head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.methods.probes.linear_layer import LinearLayer, rows_at_once
from transfer_cli.methods.probes.row_optimizers import RowOptimizer

# On the CPU heads of few classes share blocks of this many rows, and a head alone pays for a whole block: how a product
# rounds depends on its shape, but not on what stands in it or where (tried with MKL: where rows and width are multiples
# of 16; so the last layer above a hidden one has rows of no class).
_BLOCK_ROWS = 32
ALIGNED = 16
_START_DEVIATION = 0.01


class HeadScores(NamedTuple):
    """Mean cross-entropy in nats and accuracy of every head, [J] float64 on the host."""

    losses: Tensor
    accuracies: Tensor


class HeadStep(NamedTuple):
    """Mean cross-entropy and number of correct predictions of each head on a step's batch, before its update, [J]."""

    losses: Tensor
    correct: Tensor


class ManyHeads:
    """J heads on features [B, D]: linear, or with one hidden layer of `hidden` ReLU units.

    Head j has its own rate, decay and seed; biases do not decay. On the CPU head j is bit for bit the head trained
    alone where operations run in one thread and D and `hidden` are multiples of 16, as nearly every network's width
    is; elsewhere to rounding. Raises ValueError unless there are as many rates as decays and seeds.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        rates: Sequence[float],
        decays: Sequence[float],
        seeds: Sequence[int],
        *,
        optimizer: RowOptimizer,
        label_smoothing: float = 0.0,
        hidden: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not len(rates) == len(decays) == len(seeds) > 0:
            raise ValueError(f"{len(rates)} rates, {len(decays)} decays and {len(seeds)} seeds do not make heads")
        self.count, self.classes = len(seeds), classes
        self.optimizer, self.label_smoothing = optimizer, label_smoothing
        self.steps = 0
        self._together = _heads_together(self.count, classes, hidden, torch.device(device))
        starts = [*zip(*(_start(width, hidden, classes, seed) for seed in seeds), strict=True)]
        filled = [*[False] * (len(starts) - 1), self._together > 1 or hidden is not None]
        self._layers = [
            _Layer(start, self._together, fill, rates, decays, optimizer.slots, device)
            for start, fill in zip(starts, filled, strict=True)
        ]

    @property
    def rows(self) -> int:
        """Rows of the largest weight that one product takes."""
        return max(layer.weight.shape[1] for layer in self._layers)

    def step(self, features: Tensor, labels: Tensor, rate_multiplier: float = 1.0) -> HeadStep:
        """One optimizer step of every head: features [B, D] float32, labels [B] int64."""
        inputs, logits = self._forward(features)
        logits = logits.contiguous()
        targets = _smoothed(labels, self.classes, self.label_smoothing)
        losses = -(logits.log_softmax(2) * targets).sum(2).sum(2) / len(labels)
        # max finds positions along a strided dimension five times faster than argmax.
        correct = (logits.max(2).indices == labels).sum(2)
        gradient = self._rows((logits.softmax(2) - targets).div_(len(labels)))
        self.steps += 1
        for index in reversed(range(len(self._layers))):
            layer, given = self._layers[index], inputs[index]
            below = _products(layer.weight.transpose(1, 2), gradient).mul_(given > 0) if index else gradient
            slope = _products(gradient, given.transpose(1, 2))
            layer.update(self.optimizer, slope, gradient, rate_multiplier, self.steps)
            gradient = below
        return HeadStep(losses.flatten()[: self.count], correct.flatten()[: self.count])

    def logits(self, features: Tensor) -> Tensor:
        """Logits of every head on features [B, D], [J, B, K]."""
        return self._forward(features)[1].flatten(0, 1)[: self.count].transpose(1, 2)

    def logits_of_each(self, features: Tensor) -> Iterator[Tensor]:
        """Logits [B, K] of each head in turn, so that those of one block are in memory at a time."""
        for first in range(0, self.count, self._together):
            block = first // self._together
            (found,) = self._forward(features, slice(block, block + 1))[1]
            yield from found[: self.count - first].transpose(1, 2)

    def scores(self, features: Tensor, labels: Tensor) -> HeadScores:
        """Loss and accuracy of every head on features [N, D] with labels [N], in parts so that memory stays bounded."""
        widest = max(layer.weight.shape[0] * layer.weight.shape[1] for layer in self._layers)
        rows = rows_at_once(widest)
        totals = torch.zeros(2, self.count, dtype=torch.float64, device=features.device)
        for part, truth in zip(features.split(rows), labels.split(rows), strict=True):
            logits = self._forward(part)[1].flatten(0, 1)[: self.count]
            true = truth.expand(self.count, 1, -1)
            totals[0] -= logits.log_softmax(1).gather(1, true).sum((1, 2))
            totals[1] += (logits.max(1, keepdim=True).indices == true).sum((1, 2))
        losses, accuracies = (totals / len(labels)).cpu()
        return HeadScores(losses, accuracies)

    def head(self, index: int) -> list[LinearLayer]:
        """The layers of one head, first to last, as copies: one, or two with a ReLU between them."""
        block, place = divmod(index, self._together)
        layers = []
        for layer in self._layers:
            rows = slice(place * layer.outputs, (place + 1) * layer.outputs)
            layers.append(LinearLayer(layer.weight[block, rows].clone(), layer.bias[block, rows, 0].clone()))
        return layers

    def state(self) -> dict[str, Tensor]:
        """All that changes in training, by name; `restore` continues from it bit for bit."""
        tensors = {
            f"layer{index}.{name}": tensor
            for index, layer in enumerate(self._layers)
            for name, tensor in layer.tensors().items()
        }
        return {**tensors, "steps": torch.tensor(self.steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave, from heads made with the same arguments."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        self.steps = int(state["steps"])

    def _forward(self, features: Tensor, blocks: slice = slice(None)) -> tuple[list[Tensor], Tensor]:
        """The inputs of each layer, [N, D, B] then [N, H, B], and the logits [N, heads of a block, K, B]."""
        inputs = [features.T.expand(len(self._layers[0].weight[blocks]), -1, -1)]
        for layer in self._layers[:-1]:
            inputs.append(layer.outputs_of(inputs[-1], blocks).relu_())
        return inputs, self._by_class(self._layers[-1].outputs_of(inputs[-1], blocks))

    def _by_class(self, rows: Tensor) -> Tensor:
        """Rows [N, R, B] seen as [N, heads of a block, K, B], without those that fill the block up."""
        seen: Tensor = rows[:, : self._together * self.classes].unflatten(1, (self._together, self.classes))
        return seen

    def _rows(self, values: Tensor) -> Tensor:
        """The inverse of `_by_class`, with zeros in the rows that fill the block up."""
        filling = self._layers[-1].weight.shape[1] - self._together * self.classes
        return F.pad(values.flatten(1, 2), (0, 0, 0, filling))


class _Layer:
    """One layer of every head: weight [N, R, D], bias [N, R, 1], and the state of each."""

    def __init__(
        self,
        starts: Sequence[LinearLayer],
        together: int,
        filled: bool,
        rates: Sequence[float],
        decays: Sequence[float],
        slots: int,
        device: torch.device | str,
    ) -> None:
        self.outputs = len(starts[0].bias)

        def packed(tensors: Sequence[Tensor]) -> Tensor:
            return _packed(tensors, together, filled).to(device)

        self.weight = packed([start.weight for start in starts])
        self.bias = packed([start.bias[:, None] for start in starts])
        self.rates = packed([torch.full((self.outputs, 1), rate) for rate in rates])
        self.decays = packed([torch.full((self.outputs, 1), decay) for decay in decays])
        self.no_decay = torch.zeros(1, device=device)
        self.weight_state = [torch.zeros_like(self.weight) for _ in range(slots)]
        self.bias_state = [torch.zeros_like(self.bias) for _ in range(slots)]

    def outputs_of(self, inputs: Tensor, blocks: slice) -> Tensor:
        """[N, D, B] to [N, R, B]."""
        return _products(self.weight[blocks], inputs).add_(self.bias[blocks])

    def update(self, optimizer: RowOptimizer, slope: Tensor, gradient: Tensor, multiplier: float, step: int) -> None:
        """One step along the weights' gradient [N, R, D] and the outputs' [N, R, B]."""
        rates = self.rates * multiplier
        optimizer.update(self.weight, slope, self.weight_state, rates, self.decays, step)
        optimizer.update(self.bias, gradient.sum(2, keepdim=True), self.bias_state, rates, self.no_decay, step)

    def tensors(self) -> dict[str, Tensor]:
        """Weight, bias and their states by name, not copied."""
        states = {"weight": self.weight_state, "bias": self.bias_state}
        named = {f"{name}.{slot}": tensor for name, state in states.items() for slot, tensor in enumerate(state)}
        return {"weight": self.weight, "bias": self.bias, **named}


def _heads_together(count: int, classes: int, hidden: int | None, device: torch.device) -> int:
    """Heads in a block: one with a hidden layer; all on a GPU, where one large product is fastest."""
    if hidden is not None:
        return 1
    return max(1, _BLOCK_ROWS // classes) if device.type == "cpu" else count


def _packed(tensors: Sequence[Tensor], together: int, filled: bool) -> Tensor:
    """Tensors [K, X] of J heads as [N, R, X].

    `filled`: R is a multiple of 16; rows of no head are zero, and stay so at their rate of zero.
    """
    classes, width = tensors[0].shape
    rows = math.ceil(together * classes / ALIGNED) * ALIGNED if filled else classes
    blocks = math.ceil(len(tensors) / together)
    packed = tensors[0].new_zeros(blocks, rows, width)
    for index, tensor in enumerate(tensors):
        block, place = divmod(index, together)
        packed[block, place * classes : (place + 1) * classes] = tensor
    return packed


def _start(width: int, hidden: int | None, classes: int, seed: int) -> list[LinearLayer]:
    """The layers of a head before training: N(0, 0.01^2) for the last (DINOv2), biases zero.

    The hidden layer starts by "Delving Deep into Rectifiers" (He 2015, arXiv 1502.01852).
    """
    generator = torch.Generator().manual_seed(seed)
    last = width if hidden is None else hidden
    shapes = [] if hidden is None else [(hidden, width, math.sqrt(2 / width))]
    return [
        LinearLayer(torch.randn(outputs, inputs, generator=generator) * deviation, torch.zeros(outputs))
        for outputs, inputs, deviation in [*shapes, (classes, last, _START_DEVIATION)]
    ]


def _smoothed(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Target probabilities [K, B] of labels [B] with label smoothing (Szegedy 2016, arXiv 1512.00567)."""
    spread = torch.full((classes, len(labels)), smoothing / classes, device=labels.device)
    return spread.scatter_(0, labels[None], 1 - smoothing + smoothing / classes)


def _products(left: Tensor, right: Tensor) -> Tensor:
    """[N, P, Q] @ [N, Q, S]. On the CPU block by block: a batched product may round differently for another N."""
    if left.device.type != "cpu":
        return torch.bmm(left, right)
    products = left.new_empty(len(left), left.shape[1], right.shape[2])
    for a, b, product in zip(left.unbind(), right.unbind(), products.unbind(), strict=True):
        torch.mm(a, b, out=product)
    return products
