"""Where the common timm families are cut into stages; any other timm model is one backbone stage and a head."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from transfer_cli.models.network import Stage, chain
from transfer_cli.models.stages_torchvision import densenet_features

Stages = list[Stage]


def _with_top(module: nn.Module, body: Stages, *before: str) -> tuple[Stage, ...]:
    """`body`, then `pool` with whatever no other stage owns, then `head`: the layer that the classes replace.

    `pool` runs the modules `before`, and timm's own pooling, up to the features [B, D]. A model whose classifier is
    more than one linear layer keeps both in `head`.
    """
    classifier = _classifier(module)
    owned = {prefix for stage in body for prefix in stage.modules} | ({classifier} if classifier else set())
    names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
    rest = tuple(name for name in names if not any(name == p or name.startswith(f"{p}.") for p in owned))

    def logits(module: nn.Module, x: Tensor) -> Tensor:
        return module.forward_head(chain(*before)(module, x))  # type: ignore[operator,no-any-return]

    def features(module: nn.Module, x: Tensor) -> Tensor:
        return module.forward_head(chain(*before)(module, x), pre_logits=True)  # type: ignore[operator,no-any-return]

    if classifier is None:
        return (*body, Stage("head", rest, logits))
    return (*body, Stage("pool", rest, features), Stage("head", (classifier,), chain(classifier)))


def _classifier(module: nn.Module) -> str | None:
    """The path of the one linear layer that makes logits [B, K] of features [B, D]; None if there is no such layer."""
    found: Any = module.get_classifier()  # type: ignore[operator]
    takes_it = "pre_logits" in inspect.signature(module.forward_head).parameters  # type: ignore[arg-type]
    if not takes_it or not isinstance(found, nn.Linear):
        return None
    return str(next(path for path, part in module.named_modules() if part is found))


def _children(module: nn.Module, container: str, word: str) -> Stages:
    paths = [f"{container}.{name}" for name, _ in module.get_submodule(container).named_children()]
    return [Stage(f"{word}{number}", (path,), chain(path)) for number, path in enumerate(paths, 1)]


def _resnet(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("conv1", "bn1"), chain("conv1", "bn1", "act1", "maxpool"))
    layers = [Stage(name, (name,), chain(name)) for name in ("layer1", "layer2", "layer3", "layer4")]
    return _with_top(module, [stem, *layers])


def _efficientnet(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("conv_stem", "bn1"), chain("conv_stem", "bn1"))
    last = Stage("conv_head", ("conv_head", "bn2"), chain("conv_head", "bn2"))
    return _with_top(module, [stem, *_children(module, "blocks", "block"), last])


def _mobilenetv3(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("conv_stem", "bn1"), chain("conv_stem", "bn1"))
    return _with_top(module, [stem, *_children(module, "blocks", "block")])


def _vit(module: nn.Module) -> tuple[Stage, ...]:
    def embed(module: nn.Module, x: Tensor) -> Tensor:
        x = module._pos_embed(module.get_submodule("patch_embed")(x))  # type: ignore[operator]
        return chain("patch_drop", "norm_pre")(module, x)

    tokens = [name for name, _ in module.named_parameters(recurse=False)]
    stem = Stage("stem", ("patch_embed", "norm_pre", *tokens), embed)
    return _with_top(module, [stem, *_children(module, "blocks", "block")], "norm")


def _swin(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("patch_embed",), chain("patch_embed"))
    return _with_top(module, [stem, *_children(module, "layers", "stage")], "norm")


def _convnext(module: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", ("stem",), chain("stem"))
    return _with_top(module, [stem, *_children(module, "stages", "stage")], "norm_pre")


def _regnet(module: nn.Module) -> tuple[Stage, ...]:
    body = [Stage(name, (name,), chain(name)) for name in ("stem", "s1", "s2", "s3", "s4")]
    return _with_top(module, body, "final_conv")


def _densenet(module: nn.Module) -> tuple[Stage, ...]:
    return _with_top(module, densenet_features(module.get_submodule("features")))


def _whole(module: nn.Module) -> tuple[Stage, ...]:
    """Any other model: all of `forward_features` in front of the classifier's own module."""
    config: Any = module.pretrained_cfg
    classifier = config.get("classifier") or "head"
    paths = [classifier] if isinstance(classifier, str) else classifier
    top = {path.split(".")[0] for path in paths}
    body = [name for name, _ in [*module.named_children(), *module.named_parameters(recurse=False)] if name not in top]

    def features(module: nn.Module, x: Tensor) -> Tensor:
        return module.forward_features(x)  # type: ignore[operator,no-any-return]

    return _with_top(module, [Stage("backbone", tuple(body), features)])


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
