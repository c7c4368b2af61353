"""Every classification model of torchvision and timm by name, with a head for the data set's classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transfer_cli import plugins
from transfer_cli.errors import UserError, did_you_mean, first_line, is_out_of_memory
from transfer_cli.models import stages_timm, stages_torchvision
from transfer_cli.models.input_layer import RGB, replace_first, unadaptable
from transfer_cli.models.network import Cut, Network
from transfer_cli.models.staging import IN_PROCESS, SeenCuts, finest, nth

# Our names for models whose weights come with a pip package, and timm's names for them.
ALIASES = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "efficientnet_lite1": "tf_efficientnet_lite1",
    "efficientnet_lite2": "tf_efficientnet_lite2",
}


def torchvision_names() -> list[str]:
    """Classification models of torchvision."""
    import torchvision.models
    from torchvision.models._api import list_models

    return list(list_models(module=torchvision.models))


def timm_names() -> list[str]:
    """Models of timm."""
    import timm

    return list(timm.list_models())


def library(name: str, source: str) -> str:
    """Where a model comes from: "torchvision" or "timm"; with source "auto" torchvision first.

    Raises UserError with the nearest names for one that neither has.
    """
    if name in ALIASES and source != "torchvision":
        return "timm"
    if source != "timm" and name in torchvision_names():
        return "torchvision"
    if source != "torchvision" and _registered(name):
        timm_name(name)
        return "timm"
    known = {"torchvision": torchvision_names, "timm": timm_names}
    names = [n for where, list_names in known.items() if source in ("auto", where) for n in list_names()]
    where = "torchvision or timm" if source == "auto" else source
    hint = did_you_mean(name, names) or " timm.list_models() lists them."
    raise UserError(f"model.name={name}: no such model in {where}.{hint}")


def _registered(name: str) -> bool:
    """Whether timm has the model, also once installed packages have registered theirs there."""
    import timm

    if not timm.is_model(name):
        plugins.load_all("models")
    return bool(timm.is_model(name))


def timm_name(name: str) -> str:
    """What timm calls a model today: an old name's new one, with the weights that it stood for.

    Raises UserError for one that timm has given up.
    """
    # timm has no public way to ask; what it resolves itself is what counts here.
    from timm.models._registry import _deprecated_models

    name = ALIASES.get(name, name)
    current = _deprecated_models.get(name, name)
    if current is None:
        raise UserError(f"model.name={name}: timm has removed this model, and names none in its place.")
    return current


def timm_config(name: str) -> Any:
    """What timm says of a model, by the name that it has today; None for a tag of weights that there is not."""
    import timm

    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        return None


def build(
    name: str,
    source: str,
    num_classes: int,
    image_size: int,
    drop_path: float | None = None,
    seen: SeenCuts = IN_PROCESS,
    channels: int = RGB,
) -> Network:
    """The network with random weights, for images of `image_size` pixels and `channels` C, and `num_classes` K.

    `drop_path` is the rate of stochastic depth at the last block; None is the model's own. `seen` remembers how
    networks are cut into stages. Raises UserError for an unknown name, a model that is no classifier, a size or
    channels that the model cannot take, or a `drop_path` for a model without stochastic depth.
    """
    where = library(name, source)
    builder, cuts = (_torchvision, stages_torchvision.cuts) if where == "torchvision" else (_timm, stages_timm.cuts)
    asked = f"{where}/{ALIASES.get(name, name)}" + (f", {channels} channels" if channels != RGB else "")
    try:
        module = _with_drop_path(partial(builder, channels), name, num_classes, image_size, drop_path)
        number = seen.find(asked, image_size)
        if number is None:
            _try(name, module, num_classes, image_size, channels)
            number, _ = finest(module, cuts(module), image_size, channels)
            seen.add(asked, image_size, number)
    except (ValueError, AssertionError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = first_line(error)
        if channels != RGB:
            raise unadaptable(name, channels, f"or images of {image_size} pixels: {reason}") from error
        raise UserError(
            f"image_size={image_size}: {name} cannot take images of this size ({reason}). "
            "image_size=auto takes the size of its weights; most models take multiples of 32, the rest of 224."
        ) from error
    cut = nth(cuts(module), number)
    network = Network(module, cut, note=_note(name, cut) if number else None, channels=channels)
    network.eval()
    return network


def _note(name: str, cut: Cut) -> str:
    how = f"cut into {', '.join(stage.name for stage in cut.stages)}" if len(cut.stages) > 1 else "run whole"
    return f"{name}: its usual stages do not compute what it computes in this version of its library; it is {how}"


def _with_drop_path(
    builder: Callable[[str, int, int, float | None], nn.Module],
    name: str,
    num_classes: int,
    image_size: int,
    rate: float | None,
) -> nn.Module:
    try:
        module = builder(name, num_classes, image_size, rate)
    except TypeError:
        if rate is None:
            raise
        module = builder(name, num_classes, image_size, None)
    if rate and not any(type(part).__name__ in ("DropPath", "StochasticDepth") for part in module.modules()):
        raise UserError(f"strategy.drop_path={rate}: {name} has no stochastic depth; leave it out.")
    return module


def own_arguments(name: str, source: str, image_size: int, channels: int = RGB) -> tuple[str, str, dict[str, Any]]:
    """The library that a model is built by, its name there, and the arguments besides the number of classes.

    Raises UserError as `library` does.
    """
    if library(name, source) == "torchvision":
        return "torchvision", name, _torchvision_arguments(name, image_size, channels)
    return "timm", *_timm_arguments(name, image_size, channels)


def _torchvision_arguments(name: str, image_size: int, channels: int) -> dict[str, Any]:
    if name.startswith("vit_"):
        return {"image_size": image_size}
    if name.startswith("maxvit"):
        return {"input_size": (image_size, image_size)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "transform_input": channels == RGB, "init_weights": True}
    return {}


def _torchvision(channels: int, name: str, num_classes: int, image_size: int, drop_path: float | None) -> nn.Module:
    from torchvision.models._api import get_model

    arguments = _torchvision_arguments(name, image_size, channels)
    if drop_path is not None:
        arguments["stochastic_depth_prob"] = drop_path
    module = get_model(name, weights=None, num_classes=num_classes, **arguments)
    assert isinstance(module, nn.Module)
    if channels != RGB:
        replace_first(name, module, channels)
    return module


def _timm_arguments(name: str, image_size: int, channels: int) -> tuple[str, dict[str, Any]]:
    """The name to build a model by, and its arguments."""
    current = timm_name(name)
    config = timm_config(current)
    if config is None:
        # An old name may stand for weights that are gone; its architecture is there.
        current = current.split(".")[0]
        config = timm_config(current)
    fixed = config.fixed_input_size and image_size != config.input_size[-1]
    arguments: dict[str, Any] = {"img_size": image_size} if fixed else {}
    return current, arguments if channels == RGB else {**arguments, "in_chans": channels}


def _timm(channels: int, name: str, num_classes: int, image_size: int, drop_path: float | None) -> nn.Module:
    import timm

    _registered(name)
    current, arguments = _timm_arguments(name, image_size, channels)
    if drop_path is not None:
        arguments["drop_path_rate"] = drop_path
    try:
        module = timm.create_model(current, pretrained=False, num_classes=num_classes, **arguments)
    except TypeError as error:
        if "in_chans" not in str(error):
            raise
        raise unadaptable(name, channels, "timm builds it for RGB alone") from error
    assert isinstance(module, nn.Module)
    return module


@torch.no_grad()
def _try(name: str, module: nn.Module, num_classes: int, image_size: int, channels: int) -> None:
    """One black image through the network: a size that does not fit fails here and not in the middle of a run."""
    generator = torch.get_rng_state()
    try:
        logits = module.eval()(torch.zeros(2, channels, image_size, image_size))
    except NotImplementedError as error:
        raise _no_classifier(name) from error
    torch.set_rng_state(generator)
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        raise _no_classifier(name)


def _no_classifier(name: str) -> UserError:
    return UserError(f"model.name={name}: this model encodes images and has no classifier to be trained. Take another.")
