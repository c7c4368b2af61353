"""Where the common timm families are cut into stages; any other timm model is one backbone stage and its top."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from transfer_cli.models.network import Cut, Stage, chain
from transfer_cli.models.stages_torchvision import densenet_features, whole
from transfer_cli.models.tops_timm import logits_of, top_of

Stages = list[Stage]


def _with_top(module: nn.Module, body: Stages, *before: str) -> Cut:
    """`body`, then `pool` with whatever no other stage owns, then `head`: the layers that make logits of features.

    `pool` runs the modules `before`, and timm's own pooling, up to the features [B, D]. A model without such features
    keeps both in `head`.
    """
    top = top_of(module, before)
    owned = {prefix for stage in body for prefix in stage.modules} | set(top.modules if top else ())
    rest = tuple(name for name in _tensors(module) if not any(name == p or name.startswith(f"{p}.") for p in owned))
    if top is None:
        return Cut((*body, Stage("head", rest, logits_of(before))), _told_width(module))
    return Cut((*body, Stage("pool", rest, top.features), Stage("head", top.modules, top.logits)), top.width)


def _tensors(module: nn.Module) -> list[str]:
    parameters, buffers = (
        dict(named(remove_duplicate=False)) for named in (module.named_parameters, module.named_buffers)
    )
    return [*parameters, *buffers]


def _told_width(module: nn.Module) -> int:
    """What the model itself calls the width of its features."""
    width: Any = getattr(module, "head_hidden_size", None) or module.num_features
    return int(width)


def _children(module: nn.Module, container: str, word: str) -> Stages:
    paths = [f"{container}.{name}" for name, _ in module.get_submodule(container).named_children()]
    return [Stage(f"{word}{number}", (path,), chain(path)) for number, path in enumerate(paths, 1)]


def _resnet(module: nn.Module) -> Cut:
    stem = Stage("stem", ("conv1", "bn1"), chain("conv1", "bn1", "act1", "maxpool"))
    layers = [Stage(name, (name,), chain(name)) for name in ("layer1", "layer2", "layer3", "layer4")]
    return _with_top(module, [stem, *layers])


def _efficientnet(module: nn.Module) -> Cut:
    stem = Stage("stem", ("conv_stem", "bn1"), chain("conv_stem", "bn1"))
    last = Stage("conv_head", ("conv_head", "bn2"), chain("conv_head", "bn2"))
    return _with_top(module, [stem, *_children(module, "blocks", "block"), last])


def _mobilenetv3(module: nn.Module) -> Cut:
    stem = Stage("stem", ("conv_stem", "bn1"), chain("conv_stem", "bn1"))
    return _with_top(module, [stem, *_children(module, "blocks", "block")])


def _vit(module: nn.Module) -> Cut:
    def embed(module: nn.Module, x: Tensor) -> Tensor:
        x = module._pos_embed(module.get_submodule("patch_embed")(x))  # type: ignore[operator]
        return chain("patch_drop", "norm_pre")(module, x)

    tokens = [name for name, _ in module.named_parameters(recurse=False)]
    stem = Stage("stem", ("patch_embed", "norm_pre", *tokens), embed)
    return _with_top(module, [stem, *_children(module, "blocks", "block")], "norm")


def _swin(module: nn.Module) -> Cut:
    stem = Stage("stem", ("patch_embed",), chain("patch_embed"))
    return _with_top(module, [stem, *_children(module, "layers", "stage")], "norm")


def _convnext(module: nn.Module) -> Cut:
    stem = Stage("stem", ("stem",), chain("stem"))
    return _with_top(module, [stem, *_children(module, "stages", "stage")], "norm_pre")


def _regnet(module: nn.Module) -> Cut:
    body = [Stage(name, (name,), chain(name)) for name in ("stem", "s1", "s2", "s3", "s4")]
    return _with_top(module, body, "final_conv")


def _densenet(module: nn.Module) -> Cut:
    return _with_top(module, densenet_features(module.get_submodule("features")))


def _backbone(module: nn.Module) -> Cut:
    """Any other model: all of `forward_features` in front of its top."""
    return _with_top(module, [Stage("backbone", _body(module), _features)])


def _pooled(module: nn.Module) -> Cut:
    """A model that gives several maps at once: all up to its features is one stage."""
    top = top_of(module, ())
    if top is None:
        return whole(module)

    def run(module: nn.Module, x: Tensor) -> Tensor:
        return top.features(module, _features(module, x))

    rest = tuple(n for n in _tensors(module) if not any(n.startswith(f"{path}.") for path in top.modules))
    return Cut((Stage("pool", rest, run), Stage("head", top.modules, top.logits)), top.width)


def _features(module: nn.Module, x: Tensor) -> Tensor:
    return module.forward_features(x)  # type: ignore[operator,no-any-return]


def _body(module: nn.Module) -> tuple[str, ...]:
    """The parts of a model that are in front of its classifier."""
    config: Any = module.pretrained_cfg
    classifier = config.get("classifier") or "head"
    paths = [classifier] if isinstance(classifier, str) else classifier
    top = {path.split(".")[0] for path in paths}
    parts = (module.named_children(), module.named_parameters(recurse=False), module.named_buffers(recurse=False))
    return tuple(name for part in parts for name, _ in part if name not in top)


FAMILIES: dict[str, Callable[[nn.Module], Cut]] = {
    "ResNet": _resnet,
    "EfficientNet": _efficientnet,
    "MobileNetV3": _mobilenetv3,
    "VisionTransformer": _vit,
    "VisionTransformerDistilled": _vit,
    "SwinTransformer": _swin,
    "ConvNeXt": _convnext,
    "RegNet": _regnet,
    "DenseNet": _densenet,
    "CoaT": _pooled,
    "CrossVit": _pooled,
    "EfficientViM": whole,
    "EfficientViMDistilled": whole,
}


_INTERFACE = ("pretrained_cfg", "forward_features", "forward_head", "get_classifier")


def cuts(module: nn.Module) -> Iterator[Cut]:
    """Ways to cut a timm model into stages, the finest first; the last always composes to the model."""
    if not all(hasattr(module, name) for name in _INTERFACE):
        # Of a package that registers a module of its own kind.
        yield whole(module)
        return
    family = FAMILIES.get(type(module).__name__, _backbone)
    yield family(module)
    for coarser in (_backbone, _pooled):
        if family is not coarser:
            yield coarser(module)
    yield whole(module)
