"""Where each torchvision family is cut into stages. Each function takes the model and mirrors its forward pass.

A family that is not known here still trains, whole: one stage, without features for another head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer_cli.models.network import Cut, Run, Stage, chain

Stages = list[Stage]


def _pooled(pool: str | None = "avgpool") -> Run:
    """Pool and flatten."""

    def run(module: nn.Module, x: Tensor) -> Tensor:
        return torch.flatten(chain(pool)(module, x) if pool else x.mean([2, 3], keepdim=True), 1)

    return run


def _top(
    module: nn.Module, pool: Run, classifier: str, owned: tuple[str, ...] = (), dropout: tuple[str, ...] = ()
) -> Stages:
    """The last two stages: `pool` ends with the features [B, D], `head` is the layer that the classes replace.

    Of a classifier of several layers, all but the last linear one and the dropout before it belong to `pool`.
    `dropout`: that of a model which keeps it beside its classifier.
    """
    paths = [*dropout, classifier]
    if isinstance(layers := module.get_submodule(classifier), nn.Sequential):
        paths = [f"{classifier}.{name}" for name, _ in layers.named_children()]
    split = len(paths) - 1
    while split > 0 and isinstance(module.get_submodule(paths[split - 1]), nn.Dropout):
        split -= 1

    def features(module: nn.Module, x: Tensor) -> Tensor:
        return chain(*paths[:split])(module, pool(module, x))

    before, last = tuple(paths[:split]), tuple(paths[split:])
    return [Stage("pool", (*owned, *before), features), Stage("head", last, chain(*last))]


def _resnet(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("conv1", "bn1"), chain("conv1", "bn1", "relu", "maxpool")),
        *(Stage(name, (name,), chain(name)) for name in ("layer1", "layer2", "layer3", "layer4")),
        *_top(module, _pooled(), "fc"),
    ]


def _densenet(module: nn.Module) -> Stages:
    def pool(module: nn.Module, x: Tensor) -> Tensor:
        return torch.flatten(F.adaptive_avg_pool2d(F.relu(x), (1, 1)), 1)

    return [*densenet_features(module.get_submodule("features")), *_top(module, pool, "classifier")]


def densenet_features(features: nn.Module) -> Stages:
    """Stem and dense blocks, each with the transition behind it; torchvision and timm name them alike."""
    groups: dict[str, list[str]] = {"stem": []}
    for name, _ in features.named_children():
        if name.startswith("denseblock"):
            groups[name] = []
        groups[list(groups)[-1]].append(f"features.{name}")
    return [Stage(name, tuple(paths), chain(*paths)) for name, paths in groups.items()]


def _numbered(module: nn.Module, container: str) -> list[str]:
    return [f"{container}.{name}" for name, _ in module.get_submodule(container).named_children()]


def _blocks(module: nn.Module) -> Stages:
    """EfficientNet, MobileNet: stem, blocks, the last convolution."""
    stem, *blocks, last = _numbered(module, "features")
    pool = "avgpool" if hasattr(module, "avgpool") else None
    return [
        Stage("stem", (stem,), chain(stem)),
        *(Stage(f"block{number}", (path,), chain(path)) for number, path in enumerate(blocks, 1)),
        Stage("conv_head", (last,), chain(last)),
        *_top(module, _pooled(pool), "classifier"),
    ]


def _pairs(module: nn.Module, stem: str, paths: list[str]) -> Stages:
    """ConvNeXt, Swin: stem, first stage, then each downsampling with the stage behind it."""
    groups = [paths[:1], *(paths[start : start + 2] for start in range(1, len(paths), 2))]
    return [
        Stage("stem", (stem,), chain(stem)),
        *(Stage(f"stage{number}", tuple(group), chain(*group)) for number, group in enumerate(groups, 1)),
    ]


def _convnext(module: nn.Module) -> Stages:
    stem, *paths = _numbered(module, "features")
    return [*_pairs(module, stem, paths), *_top(module, chain("avgpool"), "classifier")]


def _swin(module: nn.Module) -> Stages:
    stem, *paths = _numbered(module, "features")
    top = _top(module, chain("norm", "permute", "avgpool", "flatten"), "head", owned=("norm",))
    return [*_pairs(module, stem, paths), *top]


def _until_pooling(module: nn.Module) -> Stages:
    """VGG, AlexNet, SqueezeNet: a stage ends with each pooling."""
    groups: list[list[str]] = [[]]
    for name, layer in module.get_submodule("features").named_children():
        groups[-1].append(f"features.{name}")
        if isinstance(layer, nn.MaxPool2d):
            groups.append([])
    stages = [Stage(f"stage{number}", tuple(g), chain(*g)) for number, g in enumerate(groups, 1) if g]
    if hasattr(module, "avgpool"):
        return [*stages, *_top(module, _pooled(), "classifier")]
    # SqueezeNet classifies every place and pools afterwards: it has no features [B, D].
    return [*stages, Stage("head", ("classifier",), lambda m, x: torch.flatten(m.get_submodule("classifier")(x), 1))]


def _mnasnet(module: nn.Module) -> Stages:
    paths = _numbered(module, "layers")
    stem, blocks, last = paths[:8], paths[8:14], paths[14:]
    return [
        Stage("stem", tuple(stem), chain(*stem)),
        *(Stage(f"block{number}", (path,), chain(path)) for number, path in enumerate(blocks, 1)),
        Stage("conv_head", tuple(last), chain(*last)),
        *_top(module, _pooled(None), "classifier"),
    ]


def _shufflenet(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("conv1",), chain("conv1", "maxpool")),
        *(Stage(name, (name,), chain(name)) for name in ("stage2", "stage3", "stage4", "conv5")),
        *_top(module, _pooled(None), "fc"),
    ]


def _regnet(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("stem",), chain("stem")),
        *(Stage(path.split(".")[1], (path,), chain(path)) for path in _numbered(module, "trunk_output")),
        *_top(module, _pooled(), "fc"),
    ]


def _vit(module: nn.Module) -> Stages:
    def stem(module: nn.Module, x: Tensor) -> Tensor:
        x = module._process_input(x)  # type: ignore[operator]
        token = module.get_parameter("class_token").expand(len(x), -1, -1)
        positions = module.get_parameter("encoder.pos_embedding")
        return chain("encoder.dropout")(module, torch.cat([token, x], dim=1) + positions)

    def token(module: nn.Module, x: Tensor) -> Tensor:
        return chain("encoder.ln")(module, x)[:, 0]

    return [
        Stage("stem", ("conv_proj", "class_token", "encoder.pos_embedding"), stem),
        *(Stage(f"block{n}", (path,), chain(path)) for n, path in enumerate(_numbered(module, "encoder.layers"), 1)),
        *_top(module, token, "heads", owned=("encoder.ln",)),
    ]


def _maxvit(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("stem",), chain("stem")),
        *(Stage(f"block{number}", (path,), chain(path)) for number, path in enumerate(_numbered(module, "blocks"), 1)),
        *_top(module, lambda module, x: x, "classifier"),
    ]


def _inception(module: nn.Module) -> Stages:
    """GoogLeNet and Inception v3, without their auxiliary heads: one stage for each resolution."""
    *body, _pool, dropout, _head = [name for name, _ in module.named_children()]
    groups: list[list[str]] = [[]]
    for name in body:
        if "maxpool" in name or name in ("Mixed_6a", "Mixed_7a"):
            groups.append([])
        groups[-1].append(name)
    first, *others = groups

    def stem(module: nn.Module, x: Tensor) -> Tensor:
        return chain(*first)(module, module._transform_input(x))  # type: ignore[operator]

    return [
        Stage("stem", tuple(first), stem),
        *(Stage(f"stage{number}", tuple(group), chain(*group)) for number, group in enumerate(others, 1)),
        *_top(module, _pooled(), "fc", dropout=(dropout,)),
    ]


def whole(module: nn.Module) -> Cut:
    """One stage that runs all of a model, as nothing says where its features are."""
    parts = (module.named_children(), module.named_parameters(recurse=False), module.named_buffers(recurse=False))
    stage = Stage("head", tuple(name for part in parts for name, _ in part), lambda module, x: module(x))
    return Cut((stage,), _width(module))


def _width(module: nn.Module) -> int:
    """How many numbers a model's last layer takes."""
    last = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


FAMILIES: dict[str, Callable[[nn.Module], Stages]] = {
    "ResNet": _resnet,
    "DenseNet": _densenet,
    "EfficientNet": _blocks,
    "MobileNetV2": _blocks,
    "MobileNetV3": _blocks,
    "ConvNeXt": _convnext,
    "SwinTransformer": _swin,
    "VGG": _until_pooling,
    "AlexNet": _until_pooling,
    "SqueezeNet": _until_pooling,
    "MNASNet": _mnasnet,
    "ShuffleNetV2": _shufflenet,
    "RegNet": _regnet,
    "VisionTransformer": _vit,
    "MaxVit": _maxvit,
    "GoogLeNet": _inception,
    "Inception3": _inception,
}


def cuts(module: nn.Module) -> Iterator[Cut]:
    """Ways to cut a torchvision classification model, the finest first; one, where its family is not in `FAMILIES`."""
    family = FAMILIES.get(type(module).__name__)
    if family is not None:
        yield Cut(tuple(family(module)), _width(module))
    yield whole(module)
