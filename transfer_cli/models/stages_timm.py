"""Where the common timm families are cut into stages; any other timm model is one backbone stage and a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from transfer_cli.models.network import Stage, chain
from transfer_cli.models.stages_torchvision import densenet_features

Stages = list[Stage]


def _head(module: nn.Module, *before: str) -> Stage:
    """Modules `before` the pooling, then timm's own pooling and classifier: whatever no earlier stage owns."""

    def run(module: nn.Module, x: Tensor) -> Tensor:
        logits = module.forward_head(chain(*before)(module, x))  # type: ignore[operator]
        assert isinstance(logits, Tensor)
        return logits

    return Stage("head", before, run)


def _with_rest(module: nn.Module, body: Stages, head: Stage) -> tuple[Stage, ...]:
    """All stages; the head owns every parameter and buffer that the body does not."""
    owned = {prefix for stage in body for prefix in stage.modules}
    names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
    rest = [name for name in names if not any(name == p or name.startswith(f"{p}.") for p in owned)]
    return (*body, Stage(head.name, tuple(rest), head.run))


def _children(module: nn.Module, container: str, word: str) -> Stages:
    paths = [f"{container}.{name}" for name, _ in module.get_submodule(container).named_children()]
    return [Stage(f"{word}{number}", (path,), chain(path)) for number, path in enumerate(paths, 1)]


def _resnet(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("conv1", "bn1"), chain("conv1", "bn1", "act1", "maxpool"))
    layers = [Stage(name, (name,), chain(name)) for name in ("layer1", "layer2", "layer3", "layer4")]
    return _with_rest(module, [stem, *layers], _head(module))


def _efficientnet(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("conv_stem", "bn1"), chain("conv_stem", "bn1"))
    last = Stage("conv_head", ("conv_head", "bn2"), chain("conv_head", "bn2"))
    return _with_rest(module, [stem, *_children(module, "blocks", "block"), last], _head(module))


def _mobilenetv3(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("conv_stem", "bn1"), chain("conv_stem", "bn1"))
    return _with_rest(module, [stem, *_children(module, "blocks", "block")], _head(module))


def _vit(module: nn.Module) -> tuple[Stage, ...]:
    def embed(module: nn.Module, x: Tensor) -> Tensor:
        x = module._pos_embed(module.get_submodule("patch_embed")(x))  # type: ignore[operator]
        return chain("patch_drop", "norm_pre")(module, x)

    tokens = [name for name, _ in module.named_parameters(recurse=False)]
    stem = Stage("stem", ("patch_embed", "norm_pre", *tokens), embed)
    return _with_rest(module, [stem, *_children(module, "blocks", "block")], _head(module, "norm"))


def _swin(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("patch_embed",), chain("patch_embed"))
    return _with_rest(module, [stem, *_children(module, "layers", "stage")], _head(module, "norm"))


def _convnext(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("stem",), chain("stem"))
    return _with_rest(module, [stem, *_children(module, "stages", "stage")], _head(module, "norm_pre"))


def _regnet(module: nn.Module) -> tuple[Stage, ...]:
    body = [Stage(name, (name,), chain(name)) for name in ("stem", "s1", "s2", "s3", "s4")]
    return _with_rest(module, body, _head(module, "final_conv"))


def _densenet(module: nn.Module) -> tuple[Stage, ...]:
    return _with_rest(module, densenet_features(module.get_submodule("features")), _head(module))


def _whole(module: nn.Module) -> tuple[Stage, ...]:
    """Any other model: all of `forward_features` in front of the classifier's own module."""
    config: Any = module.pretrained_cfg
    classifier = config.get("classifier") or "head"
    paths = [classifier] if isinstance(classifier, str) else classifier
    top = {path.split(".")[0] for path in paths}
    body = [name for name, _ in [*module.named_children(), *module.named_parameters(recurse=False)] if name not in top]

    def features(module: nn.Module, x: Tensor) -> Tensor:
        return module.forward_features(x)  # type: ignore[operator,no-any-return]

    return _with_rest(module, [Stage("backbone", tuple(body), features)], _head(module))


FAMILIES: dict[str, Callable[[nn.Module], tuple[Stage, ...]]] = {
    "ResNet": _resnet,
    "EfficientNet": _efficientnet,
    "MobileNetV3": _mobilenetv3,
    "VisionTransformer": _vit,
    "SwinTransformer": _swin,
    "ConvNeXt": _convnext,
    "RegNet": _regnet,
    "DenseNet": _densenet,
}


def stages(module: nn.Module) -> tuple[Stage, ...]:
    """The stages of a timm model."""
    return FAMILIES.get(type(module).__name__, _whole)(module)
