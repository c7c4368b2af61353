"""Heads on frozen features in place of a network's classifier, described by plain values in `model.json`.

Legend: B batch, D feature width, K classes, N stored samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer_cli.errors import UserError
from transfer_cli.models.network import Network, Readout

VOTE_TEMPERATURE = 0.07
OWN_HEAD = "linear"
"""The kind of the head that a model comes with; nothing is attached for it."""
LINEAR = (OWN_HEAD, "probe")
"""Kinds whose logits are a linear map of features."""


@dataclass(frozen=True)
class HeadSpec:
    """The shape of a head, and which features it reads: `kind` is a key of `BUILDERS`."""

    kind: str = OWN_HEAD
    width: int = 0
    """D; 0: that of the network's own classifier."""
    hidden: int = 0
    """Units of the hidden layer (mlp)."""
    samples: int = 0
    """Stored training samples N (neighbours)."""
    neighbours: int = 0
    """How many of them vote."""
    pooling: str = "auto"
    stages: tuple[str, ...] = ()
    """Stages whose pooled outputs are concatenated; none: the network's own features."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HeadSpec:
        """From plain values. Raises ValueError, KeyError or TypeError for anything but what `to_dict` gives."""
        try:
            numbers = {key: int(values[key]) for key in ("width", "hidden", "samples", "neighbours")}
        except OverflowError as error:  # JSON has infinity
            raise ValueError("head out of range") from error
        if str(values["kind"]) not in BUILDERS or min(numbers.values()) < 0 or max(numbers.values()) > 2**31:
            raise ValueError(f"head {values['kind']!r}")
        stages = tuple(str(name) for name in values["stages"])
        return cls(kind=str(values["kind"]), pooling=str(values["pooling"]), stages=stages, **numbers)


class Probe(nn.Linear):
    """A linear layer in fp32 whatever the backbone runs in: bf16 would round what standardising was folded into."""

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to [B, K]."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class Cosine(nn.Module):
    """Cosine similarity of standardised features [B, D] with one vector a class [K, D]: logits [B, K]."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.weight = nn.Parameter(torch.zeros(classes, width))

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, K], in fp32."""
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(F.normalize((features.float() - self.mean) / self.scale, dim=-1), self.weight)


class Neighbours(nn.Module):
    """Votes of the nearest of N stored training samples, by cosine similarity (`vote_shares`)."""

    def __init__(self, width: int, samples: int, neighbours: int, classes: int) -> None:
        super().__init__()
        self.neighbours, self.classes = neighbours, classes
        self.mean: Tensor
        self.scale: Tensor
        self.stored: Tensor
        self.labels: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("stored", torch.zeros(samples, width))
        self.register_buffer("labels", torch.zeros(samples, dtype=torch.int64))

    def forward(self, features: Tensor) -> Tensor:
        """Logarithms of the shares of the votes, [B, K]; `stored` holds features of unit length."""
        with torch.autocast(features.device.type, enabled=False):
            queries = F.normalize((features.float() - self.mean) / self.scale, dim=-1)
            nearest, positions = (queries @ self.stored.T).topk(self.neighbours, dim=1)
        return vote_shares(nearest, self.labels[positions], self.classes).clamp_min(1e-12).log()


def vote_shares(similarities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Each class's share [B, K] of the votes of k neighbours, with their cosine similarities and labels [B, k].

    A vote weighs exp(similarity / 0.07): "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"
    (Wu 2018, arXiv 1805.01978), as in the protocol of DINO (Caron 2021, arXiv 2104.14294).
    """
    weights = (similarities / VOTE_TEMPERATURE).softmax(1)
    # Not len, which torch.export takes for a constant.
    return weights.new_zeros(weights.shape[0], classes).scatter_add_(1, labels, weights)


def _linear(spec: HeadSpec, classes: int) -> nn.Module:
    return nn.Linear(spec.width, classes)


def _probe(spec: HeadSpec, classes: int) -> nn.Module:
    return Probe(spec.width, classes)


def _mlp(spec: HeadSpec, classes: int) -> nn.Module:
    return nn.Sequential(Probe(spec.width, spec.hidden), nn.ReLU(), Probe(spec.hidden, classes))


def _cosine(spec: HeadSpec, classes: int) -> nn.Module:
    return Cosine(spec.width, classes)


def _neighbours(spec: HeadSpec, classes: int) -> nn.Module:
    return Neighbours(spec.width, spec.samples, spec.neighbours, classes)


BUILDERS: dict[str, Callable[[HeadSpec, int], nn.Module]] = {
    "linear": _linear,
    "probe": _probe,
    "mlp": _mlp,
    "cosine": _cosine,
    "neighbours": _neighbours,
}


def attach(network: Network, spec: HeadSpec, classes: int) -> Network:
    """The network with the head of `spec` in place of its classifier. Raises UserError where it has no features."""
    if not network.has_features:
        raise UserError(
            "strategy: this model has no features [B, D] before one classifying layer: it classifies every place of "
            "the image and pools afterwards, weighs several classifiers, or its architecture is not known here. Take "
            "another model, or strategy=finetune."
        )
    readout = Readout(spec.pooling, spec.stages) if spec.stages or spec.pooling != "auto" else None
    return network.with_head(BUILDERS[spec.kind](spec, classes), spec.width, readout)
