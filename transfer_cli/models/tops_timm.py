"""What timm's models have above their last map: pooling up to features [B, D], and the layers that make logits of them.

Most classify with one linear layer. Some put a BatchNorm or hidden layers in front of it, classify with a convolution
of one pixel, or take the mean of two classifiers, one of which learnt from a teacher.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transfer_cli.models.network import Run, chain

# Layers of a classifier in the order in which they run, where that is not the order in which they are made.
ORDERS = {"MlpHead": ("fc1", "act", "norm", "head_drop", "fc2")}


@dataclass(frozen=True)
class Top:
    """`features` [B, D] of the last stage's output, `logits` [B, K] of these, by the parts `modules` of the model.

    The last of `modules` is the layer that another head replaces.
    """

    features: Run
    logits: Run
    modules: tuple[str, ...]
    width: int


def logits_of(before: tuple[str, ...]) -> Run:
    """Logits by the model's own way, behind the modules `before`."""
    return lambda module, x: module.forward_head(chain(*before)(module, x))  # type: ignore[operator]


def top_of(module: nn.Module, before: tuple[str, ...]) -> Top | None:
    """The top of a model whose last stage is followed by the modules `before`; None where no features are told."""
    kind = type(module).__name__
    if kind in TOPS:
        return TOPS[kind](module, before)
    if "pre_logits" not in inspect.signature(module.forward_head).parameters:  # type: ignore[arg-type]
        return None
    branches = _branches(module)
    return _of_branches(module, branches, _pooled(before)) if branches else None


@dataclass(frozen=True)
class _Branch:
    """One classifier: the layers in front of its last, and that one, by path."""

    before: tuple[str, ...]
    last: str


def _pooled(before: tuple[str, ...]) -> Run:
    def run(module: nn.Module, x: Tensor) -> Tensor:
        pooled = module.forward_head(chain(*before)(module, x), pre_logits=True)  # type: ignore[operator]
        return torch.flatten(pooled, 1)

    return run


def _branches(module: nn.Module) -> list[_Branch]:
    """The classifiers whose mean the logits are; none where one of them is made of what is not known here."""
    found: Any = module.get_classifier()  # type: ignore[operator]
    paths = {id(part): path for path, part in module.named_modules()}
    parts = found if isinstance(found, tuple) else (found,)
    branches: list[_Branch] = []
    for part in parts:
        if not isinstance(part, nn.Module):
            return []
        if type(part).__name__ == "RepVitClassifier":
            names = ("head", "head_dist") if part.distillation else ("head",)
            own = paths[id(part)]
            inner = [_branch(module, f"{own}.{name}", (f"{own}.head_drop",)) for name in names]
        else:
            inner = [_branch(module, paths[id(part)])]
        branches += [one for one in inner if one is not None]
    return branches


def _branch(module: nn.Module, path: str, before: tuple[str, ...] = ()) -> _Branch | None:
    """The classifier at `path`, which may be part of layers that belong together, or be made of layers."""
    parent = path.rpartition(".")[0]
    if parent and type(module.get_submodule(parent)).__name__ == "NormLinear":
        path = parent
    part = module.get_submodule(path)
    if type(part).__name__ == "ClassifierHead":
        # What it does before belongs to pooling.
        path, part = f"{path}.fc", part.get_submodule("fc")
    if not isinstance(part, nn.Linear | nn.Conv2d):
        names = ORDERS.get(type(part).__name__) or tuple(name for name, _ in part.named_children())
        if not names:
            return None
        *first, last = (f"{path}.{name}" for name in names)
        before, path = (*before, *first), last
    return _Branch(before, path) if isinstance(module.get_submodule(path), nn.Linear | nn.Conv2d) else None


def _of_branches(module: nn.Module, branches: list[_Branch], pooled: Run) -> Top:
    """One classifier on what comes in front of it, or the mean of several on the same or each on its own features."""
    width = _width(module, branches[0].last)
    lasts = tuple(branch.last for branch in reversed(branches))
    if len(branches) == 1:
        before = branches[0].before
        return Top(lambda m, x: chain(*before)(m, pooled(m, x)), lambda m, x: classify(m, lasts[0], x), lasts, width)
    if not any(branch.before for branch in branches):
        return Top(pooled, lambda m, x: _mean([classify(m, branch.last, x) for branch in branches]), lasts, width)

    def features(module: nn.Module, x: Tensor) -> Tensor:
        x = pooled(module, x)
        return torch.cat([chain(*branch.before)(module, x) for branch in branches], dim=1)

    return Top(features, _by_parts(module, [branch.last for branch in branches]), lasts, width * len(branches))


def _by_parts(module: nn.Module, paths: list[str]) -> Run:
    """The mean of several classifiers, each on its own part of the features."""
    widths = [_width(module, path) for path in paths]

    def logits(module: nn.Module, x: Tensor) -> Tensor:
        return _mean([classify(module, path, part) for path, part in zip(paths, x.split(widths, 1), strict=True)])

    return logits


def _mean(logits: list[Tensor]) -> Tensor:
    return (logits[0] + logits[1]) / 2 if len(logits) == 2 else torch.stack(logits).mean(0)


def classify(module: nn.Module, path: str, features: Tensor) -> Tensor:
    """Logits [B, K] by the layer at `path` of features [B, D]; a convolution takes them as a map of one pixel."""
    layer = module.get_submodule(path)
    if isinstance(layer, nn.Conv2d):
        features = features[:, :, None, None]
    return torch.flatten(layer(features), 1)


def _width(module: nn.Module, path: str) -> int:
    layer: Any = module.get_submodule(path)
    return int(layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features)


def _two_tokens(module: nn.Module, before: tuple[str, ...]) -> Top | None:
    """DeiT and PiT: a classifier on the class token, and where there is one, a second on the distillation token."""
    if getattr(module, "head_dist", None) is None:
        branches = _branches(module)
        return _of_branches(module, branches, _pooled(before)) if branches else None

    def features(module: nn.Module, x: Tensor) -> Tensor:
        x = chain(*before)(module, x)
        return torch.cat([chain("head_drop")(module, x[:, token]) for token in (0, 1)], dim=1)

    width = _width(module, "head") + _width(module, "head_dist")
    return Top(features, _by_parts(module, ["head", "head_dist"]), ("head_dist", "head"), width)


def _crossvit(module: nn.Module, before: tuple[str, ...]) -> Top:
    """A classifier on the class token of each branch."""
    paths = [f"head.{name}" for name, _ in module.get_submodule("head").named_children()]
    width = sum(_width(module, path) for path in paths)
    return Top(_pooled(before), _by_parts(module, paths), (*reversed(paths),), width)


def _no_features(module: nn.Module, before: tuple[str, ...]) -> None:
    """VOLO's second head looks at every token; EfficientViM weighs the classifiers of its stages."""


TOPS: dict[str, Callable[[nn.Module, tuple[str, ...]], Top | None]] = {
    "VisionTransformerDistilled": _two_tokens,
    "PoolingVisionTransformer": _two_tokens,
    "CrossVit": _crossvit,
    "EfficientViM": _no_features,
    "EfficientViMDistilled": _no_features,
    "VOLO": _no_features,
}
