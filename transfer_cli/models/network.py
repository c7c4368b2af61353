"""A backbone with its head, as one module and as an ordered list of stages that compose to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

STEADY_ROWS = 32
"""Batches of whole multiples of so many rows give each row the same bits on a CPU, see `run_frozen`."""
STEADY_THREADS = (1, 2, 4)
"""For so many threads."""
Run = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Stage:
    """A part of a network that people freeze, tap and name. `run(module, x)` computes it."""

    name: str
    modules: tuple[str, ...]
    """Name prefixes of the parameters and buffers that belong to it."""
    run: Run


@dataclass(frozen=True)
class Cut:
    """One way to cut a network into stages, the last of which is `head`; `feature_width` D is what `pool` gives."""

    stages: tuple[Stage, ...]
    feature_width: int


@dataclass(frozen=True)
class Readout:
    """Features made of stage outputs: pooled and concatenated, in place of the network's own pooling.

    `pooling`: `average` over places or tokens, `token` (the class token), `auto`: the class token where there is one.
    Without `stages` the last one before the network's own pooling is read.
    """

    pooling: str
    stages: tuple[str, ...]

    def __call__(self, network: Network, images: Tensor) -> Tensor:
        """Features [B, D], D the sum of the stages' widths, of images [B, C, H, W]."""
        names = self.stages or (network.stages[max(len(network.stages) - 3, 0)].name,)
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

    Shapes: images [B, C, H, W] of `channels` C to logits [B, K]; `feature_width` D is the classifier's input width.
    With a `readout` the features come from there. `by_stages`: the plain model does not run with the head that it now
    has, its stages do. `note`: why it is cut more coarsely than others of its library.
    """

    def __init__(
        self,
        module: nn.Module,
        cut: Cut,
        readout: Readout | None = None,
        *,
        by_stages: bool = False,
        note: str | None = None,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.module = module
        self.stages = cut.stages
        self.feature_width = cut.feature_width
        self.readout = readout
        self.by_stages = by_stages
        self.note = note
        self.channels = channels
        parameters = module.named_parameters(remove_duplicate=False)
        names = [*dict(parameters), *dict(module.named_buffers(remove_duplicate=False))]
        self._stage_of = {name: _owner(name, self.stages) for name in names}

    def with_head(self, head: nn.Module, feature_width: int, readout: Readout | None) -> Network:
        """The same backbone with `head` as its classifier, on features of another width or readout.

        A dropout in front of the classifier stays; whatever else made the logits (a second classifier, of
        distillation) goes.
        """
        path, others = self.classifier, [name for name in self._weighted_head() if name != self.classifier]
        by_stages = self.by_stages or bool(others) or isinstance(self.module.get_submodule(path), nn.Conv2d)
        for other in others:
            _remove(self.module, other)
        self.module.set_submodule(path, head)
        paths = tuple(name for name in self.stages[-1].modules if name not in others)
        cut = Cut((*self.stages[:-1], Stage("head", paths, chain(*paths))), feature_width)
        return Network(self.module, cut, readout, by_stages=by_stages, note=self.note, channels=self.channels)

    @property
    def classifier(self) -> str:
        """The path of the layer that makes logits of features; only where `has_features`."""
        return self.stages[-1].modules[-1]

    @property
    def has_features(self) -> bool:
        """Whether the head is a linear map of features [B, D], the output of a stage `pool`."""
        return len(self.stages) > 1 and self.stages[-2].name == "pool"

    @property
    def has_one_layer(self) -> bool:
        """Whether that map is a single linear layer, and not a convolution of one pixel or the mean of two layers."""
        return self._weighted_head() == [self.classifier] and isinstance(
            self.module.get_submodule(self.classifier), nn.Linear
        )

    @torch.no_grad()
    def linear_head(self) -> dict[str, Tensor]:
        """`weight` [K, D] and `bias` [K] of the map that the head is; only where `has_features`."""
        if self.has_one_layer:
            layer = self.module.get_submodule(self.classifier)
            return {name: tensor.detach() for name, tensor in layer.state_dict().items()}
        was_training, basis = self.module.training, next(self.module.parameters()).new_zeros(1)
        self.module.eval()
        bias = self.forward_from(len(self.stages) - 1, basis.expand(1, self.feature_width))[0]
        rows = torch.eye(self.feature_width, device=basis.device, dtype=basis.dtype)
        weight = (self.forward_from(len(self.stages) - 1, rows) - bias).T.contiguous()
        self.module.train(was_training)
        return {"weight": weight, "bias": bias}

    def _weighted_head(self) -> list[str]:
        """The parts of the head that have something to learn: layers, and parameters of the module itself."""
        names = [name for name, _ in self.module.named_parameters()]
        return [path for path in self.stages[-1].modules if any(n == path or n.startswith(f"{path}.") for n in names)]

    @torch.no_grad()
    def quiet_head(self, scale: float = 0.0, rows: Sequence[int] | None = None) -> None:
        """Let every class be as likely as any other: the first loss is ln K. For heads of one linear layer.

        A head as its model draws it can begin far from there (EfficientNets of timm: at 19 for ten digits), and its
        gradients then undo what was pretrained. `scale` above 0 leaves that much of the draw; `rows` are the classes
        that it is done for where the weights bring rows for the others.
        """
        for path in self._weighted_head():
            for name, parameter in self.module.named_parameters():
                if name.startswith(f"{path}."):
                    drawn = ... if rows is None else [*rows]
                    parameter[drawn] = parameter[drawn] * scale

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, C, H, W]."""
        if self.readout is not None:
            return self.forward_from(len(self.stages) - 1, self.readout(self, images))
        if self.by_stages:
            return self.forward_from(0, images)
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

    Small batches take other kernels, and of a tensor whose numbers are no whole vectors the last ones get another exp:
    measured for efficientnet_b1, rexnet_100 and maxvit_nano, the last of 33 to 63 rows differ from those of 64. So
    batches are padded to whole multiples. That holds for 1, 2 and 4 threads; where others share out a tensor, a part
    ends anywhere, and SiLU and sigmoid differ in the last bit there: efficientnet_b0 on 3 threads, rexnet_100 on 16.
    """
    count = len(inputs)
    whole = -(-count // STEADY_ROWS) * STEADY_ROWS
    if inputs.device.type != "cpu" or count in (0, whole):
        return forward(inputs)
    copies, rest = divmod(whole, count)
    return forward(torch.cat([inputs] * copies + [inputs[:rest]]))[:count]


def chain(*paths: str) -> Run:
    """A stage that runs submodules one after another."""

    def run(module: nn.Module, x: Tensor) -> Tensor:
        for path in paths:
            x = module.get_submodule(path)(x)
        return x

    return run


def _remove(module: nn.Module, path: str) -> None:
    """Take a submodule, or a parameter, out of a module."""
    parent, _, name = path.rpartition(".")
    owner = module.get_submodule(parent)
    if name in dict(owner.named_parameters(recurse=False)):
        setattr(owner, name, None)
    else:
        module.set_submodule(path, nn.Identity())


def _owner(name: str, stages: tuple[Stage, ...]) -> int:
    owners = [
        number
        for number, stage in enumerate(stages)
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in stage.modules)
    ]
    assert len(owners) == 1, f"{name} belongs to stages {owners}"
    return owners[0]
