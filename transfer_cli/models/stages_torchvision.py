"""Where each torchvision family is cut into stages. Each function takes the model and mirrors its forward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer_cli.models.network import Stage, chain

Stages = list[Stage]


def _pooled(classifier: str, pool: str | None = "avgpool") -> Callable[[nn.Module, Tensor], Tensor]:
    """Pool, flatten, classify."""

    def run(module: nn.Module, x: Tensor) -> Tensor:
        x = chain(pool)(module, x) if pool else x.mean([2, 3], keepdim=True)
        return chain(classifier)(module, torch.flatten(x, 1))

    return run


def _resnet(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("conv1", "bn1"), chain("conv1", "bn1", "relu", "maxpool")),
        *(Stage(name, (name,), chain(name)) for name in ("layer1", "layer2", "layer3", "layer4")),
        Stage("head", ("fc",), _pooled("fc")),
    ]


def _densenet(module: nn.Module) -> Stages:
    def head(module: nn.Module, x: Tensor) -> Tensor:
        x = F.relu(x, inplace=True)
        return chain("classifier")(module, torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))

    return [*densenet_features(module.get_submodule("features")), Stage("head", ("classifier",), head)]


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
        Stage("head", ("classifier",), _pooled("classifier", pool)),
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
    return [*_pairs(module, stem, paths), Stage("head", ("classifier",), chain("avgpool", "classifier"))]


def _swin(module: nn.Module) -> Stages:
    stem, *paths = _numbered(module, "features")
    head = Stage("head", ("norm", "head"), chain("norm", "permute", "avgpool", "flatten", "head"))
    return [*_pairs(module, stem, paths), head]


def _until_pooling(module: nn.Module) -> Stages:
    """VGG, AlexNet, SqueezeNet: a stage ends with each pooling."""
    groups: list[list[str]] = [[]]
    for name, layer in module.get_submodule("features").named_children():
        groups[-1].append(f"features.{name}")
        if isinstance(layer, nn.MaxPool2d):
            groups.append([])
    stages = [Stage(f"stage{number}", tuple(g), chain(*g)) for number, g in enumerate(groups, 1) if g]
    if hasattr(module, "avgpool"):
        return [*stages, Stage("head", ("classifier",), _pooled("classifier"))]
    return [*stages, Stage("head", ("classifier",), lambda m, x: torch.flatten(m.get_submodule("classifier")(x), 1))]


def _mnasnet(module: nn.Module) -> Stages:
    paths = _numbered(module, "layers")
    stem, blocks, last = paths[:8], paths[8:14], paths[14:]
    return [
        Stage("stem", tuple(stem), chain(*stem)),
        *(Stage(f"block{number}", (path,), chain(path)) for number, path in enumerate(blocks, 1)),
        Stage("conv_head", tuple(last), chain(*last)),
        Stage("head", ("classifier",), _pooled("classifier", None)),
    ]


def _shufflenet(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("conv1",), chain("conv1", "maxpool")),
        *(Stage(name, (name,), chain(name)) for name in ("stage2", "stage3", "stage4", "conv5")),
        Stage("head", ("fc",), _pooled("fc", None)),
    ]


def _regnet(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("stem",), chain("stem")),
        *(Stage(path.split(".")[1], (path,), chain(path)) for path in _numbered(module, "trunk_output")),
        Stage("head", ("fc",), _pooled("fc")),
    ]


def _vit(module: nn.Module) -> Stages:
    def stem(module: nn.Module, x: Tensor) -> Tensor:
        x = module._process_input(x)  # type: ignore[operator]
        token = module.get_parameter("class_token").expand(len(x), -1, -1)
        positions = module.get_parameter("encoder.pos_embedding")
        return chain("encoder.dropout")(module, torch.cat([token, x], dim=1) + positions)

    def head(module: nn.Module, x: Tensor) -> Tensor:
        return chain("heads")(module, chain("encoder.ln")(module, x)[:, 0])

    return [
        Stage("stem", ("conv_proj", "class_token", "encoder.pos_embedding"), stem),
        *(Stage(f"block{n}", (path,), chain(path)) for n, path in enumerate(_numbered(module, "encoder.layers"), 1)),
        Stage("head", ("encoder.ln", "heads"), head),
    ]


def _maxvit(module: nn.Module) -> Stages:
    return [
        Stage("stem", ("stem",), chain("stem")),
        *(Stage(f"block{number}", (path,), chain(path)) for number, path in enumerate(_numbered(module, "blocks"), 1)),
        Stage("head", ("classifier",), chain("classifier")),
    ]


def _inception(module: nn.Module) -> Stages:
    """GoogLeNet and Inception v3, without their auxiliary heads: one stage for each resolution."""
    *body, _pool, _dropout, _head = [name for name, _ in module.named_children()]
    groups: list[list[str]] = [[]]
    for name in body:
        if "maxpool" in name or name in ("Mixed_6a", "Mixed_7a"):
            groups.append([])
        groups[-1].append(name)
    first, *others = groups

    def stem(module: nn.Module, x: Tensor) -> Tensor:
        return chain(*first)(module, module._transform_input(x))  # type: ignore[operator]

    def head(module: nn.Module, x: Tensor) -> Tensor:
        return chain("dropout", "fc")(module, torch.flatten(chain("avgpool")(module, x), 1))

    return [
        Stage("stem", tuple(first), stem),
        *(Stage(f"stage{number}", tuple(group), chain(*group)) for number, group in enumerate(others, 1)),
        Stage("head", ("fc",), head),
    ]


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


def stages(module: nn.Module) -> tuple[Stage, ...]:
    """The stages of a torchvision classification model."""
    return tuple(FAMILIES[type(module).__name__](module))
