"""A backbone with its head, as one module and as an ordered list of stages that compose to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

STEADY_ROWS = 32


@dataclass(frozen=True)
class Stage:
    """A part of a network that people freeze, tap and name. `run(module, x)` computes it."""

    name: str
    modules: tuple[str, ...]
    """Name prefixes of the parameters and buffers that belong to it."""
    run: Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Readout:
    """Features made of stage outputs: pooled and concatenated, in place of the network's own pooling.

    `pooling`: `average` over places or tokens, `token` (the class token), `auto`: the class token where there is one.
    Without `stages` the last one before the network's own pooling is read.
    """

    pooling: str
    stages: tuple[str, ...]

    def __call__(self, network: Network, images: Tensor) -> Tensor:
        """Features [B, D], D the sum of the stages' widths, of images [B, 3, H, W]."""
        names = self.stages or (network.stages[-3].name,)
        found: dict[str, Tensor] = {}
        for stage in network.stages[:-1]:
            images = stage.run(network.module, images)
            if stage.name in names:
                found[stage.name] = self._pool(network.module, images)
            if len(found) == len(names):
                break
        return torch.cat([found[name] for name in names], dim=1)

    def _pool(self, module: nn.Module, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return x
        if x.ndim == 3:
            prefix = prefix_tokens(module)
            take_token = prefix > 0 and self.pooling != "average"
            return x[:, 0] if take_token else x[:, prefix:].mean(1)
        return x.mean((1, 2)) if has_channels_last(module) else x.mean((2, 3))


def prefix_tokens(module: nn.Module) -> int:
    """How many tokens (class, registers) stand before those of the image's patches."""
    own = getattr(module, "num_prefix_tokens", None)
    return int(own) if isinstance(own, int) else int(hasattr(module, "class_token"))


def has_channels_last(module: nn.Module) -> bool:
    """Whether stages give [B, H, W, C]: both libraries' Swin, and the timm models that say so; else [B, C, H, W]."""
    return type(module).__name__ == "SwinTransformer" or getattr(module, "output_fmt", None) == "NHWC"


class Network(nn.Module):
    """`module` is the plain torchvision or timm model; `stages` compose to its forward pass, the last is `head`.

    Shapes: images [B, 3, H, W] to logits [B, K]; `feature_width` D is the classifier's input width. With a `readout`
    the features come from there.
    """

    def __init__(
        self, module: nn.Module, stages: tuple[Stage, ...], feature_width: int, readout: Readout | None = None
    ) -> None:
        super().__init__()
        self.module = module
        self.stages = stages
        self.feature_width = feature_width
        self.readout = readout
        names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
        self._stage_of = {name: _owner(name, stages) for name in names}

    def with_head(self, head: nn.Module, feature_width: int, readout: Readout | None) -> Network:
        """The same backbone with `head` as its classifier, on features of another width or readout."""
        path = self.classifier
        self.module.set_submodule(path, head)
        return Network(self.module, (*self.stages[:-1], Stage("head", (path,), chain(path))), feature_width, readout)

    @property
    def classifier(self) -> str:
        """The path of the layer that makes logits of features; only where `has_features`."""
        return self.stages[-1].modules[-1]

    @property
    def has_features(self) -> bool:
        """Whether the head is one linear layer on features [B, D], the output of a stage `pool`."""
        return len(self.stages) > 1 and self.stages[-2].name == "pool"

    @torch.no_grad()
    def quiet_head(self, scale: float = 0.0, rows: Sequence[int] | None = None) -> None:
        """Let every class be as likely as any other: the first loss is ln K. For heads of one linear layer.

        A head as its model draws it can begin far from there (EfficientNets of timm: at 19 for ten digits), and its
        gradients then undo what was pretrained. `scale` above 0 leaves that much of the draw; `rows` are the classes
        that it is done for where the weights bring rows for the others.
        """
        for parameter in self.module.get_submodule(self.classifier).parameters():
            drawn = slice(None) if rows is None else [*rows]
            parameter[drawn] = parameter[drawn] * scale

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        if self.readout is not None:
            return self.forward_from(len(self.stages) - 1, self.readout(self, images))
        logits = self.module(images)
        assert isinstance(logits, Tensor)
        return logits

    def forward_to(self, boundary: int, images: Tensor) -> Tensor:
        """The output of the stages before `boundary` for images: the activations that stage number `boundary` takes."""
        if self.readout is not None and boundary == len(self.stages) - 1:
            return self.readout(self, images)
        for stage in self.stages[:boundary]:
            images = stage.run(self.module, images)
        return images

    def forward_between(self, start: int, boundary: int, activations: Tensor) -> Tensor:
        """The output of the stages from number `start` up to `boundary` for the activations that `start` takes."""
        if start == 0:
            return self.forward_to(boundary, activations)
        for stage in self.stages[start:boundary]:
            activations = stage.run(self.module, activations)
        return activations

    def forward_from(self, boundary: int, activations: Tensor) -> Tensor:
        """Logits [B, K] from the activations that stage number `boundary` takes."""
        for stage in self.stages[boundary:]:
            activations = stage.run(self.module, activations)
        return activations

    def stage_of(self, name: str) -> int:
        """The number of the stage that a parameter or buffer of `module` belongs to."""
        return self._stage_of[name]


def run_frozen(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """`forward` of inputs [B, ...], each row the same bits on a CPU whatever batch it is part of.

    Measured for resnet18, efficientnet_lite0, mobilenet_v3_small, convnext_tiny and test_resnet in fp32 and bf16:
    rows are byte-equal for any batch of 16 or more. Smaller ones of small maps take other kernels, and are padded.
    """
    count = len(inputs)
    if inputs.device.type != "cpu" or count >= STEADY_ROWS:
        return forward(inputs)
    copies = -(-STEADY_ROWS // count)
    return forward(inputs.repeat(copies, *[1] * (inputs.ndim - 1))[:STEADY_ROWS])[:count]


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
