"""A backbone with its head, as one module and as an ordered list of stages that compose to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """A part of a network that people freeze, tap and name. `run(module, x)` computes it."""

    name: str
    modules: tuple[str, ...]
    """Name prefixes of the parameters and buffers that belong to it."""
    run: Callable[[nn.Module, Tensor], Tensor]


class Network(nn.Module):
    """`module` is the plain torchvision or timm model; `stages` compose to its forward pass, the last is `head`.

    Shapes: images [B, 3, H, W] to logits [B, K]; `feature_width` D is the classifier's input width.
    """

    def __init__(self, module: nn.Module, stages: tuple[Stage, ...], feature_width: int) -> None:
        super().__init__()
        self.module = module
        self.stages = stages
        self.feature_width = feature_width
        names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
        self._stage_of = {name: _owner(name, stages) for name in names}

    @property
    def has_features(self) -> bool:
        """Whether the head is one linear layer on features [B, D], the output of a stage `pool`."""
        return len(self.stages) > 1 and self.stages[-2].name == "pool"

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        logits = self.module(images)
        assert isinstance(logits, Tensor)
        return logits

    def forward_to(self, boundary: int, images: Tensor) -> Tensor:
        """What stages before `boundary` make of images: the activations that stage number `boundary` takes."""
        for stage in self.stages[:boundary]:
            images = stage.run(self.module, images)
        return images

    def forward_from(self, boundary: int, activations: Tensor) -> Tensor:
        """Logits [B, K] from the activations that stage number `boundary` takes."""
        for stage in self.stages[boundary:]:
            activations = stage.run(self.module, activations)
        return activations

    def stage_of(self, name: str) -> int:
        """The number of the stage that a parameter or buffer of `module` belongs to."""
        return self._stage_of[name]


def chain(*paths: str) -> Callable[[nn.Module, Tensor], Tensor]:
    """A stage that runs submodules one after another."""

    def run(module: nn.Module, x: Tensor) -> Tensor:
        for path in paths:
            x = module.get_submodule(path)(x)
        return x

    return run


def _owner(name: str, stages: tuple[Stage, ...]) -> int:
    owners = [
        number
        for number, stage in enumerate(stages)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in stage.modules)
    ]
    assert len(owners) == 1, f"{name} belongs to stages {owners}"
    return owners[0]
