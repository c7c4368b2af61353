"""Exports of weights alone, for the library's own constructor: a state dict of the plain timm or torchvision model."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from transfer_cli.errors import UserError
from transfer_cli.files import parsed_json, write_json
from transfer_cli.models.backbones import own_arguments
from transfer_cli.models.heads import LINEAR
from transfer_cli.models.input_layer import RGB
from transfer_cli.models.tensors import write_tensors
from transfer_cli.runs.export.subject import Runner, Subject, on_threads

WEIGHTS, STATE, CONFIG = "model.safetensors", "model.pth", "config.json"
_OTHER_HEADS = {
    "mlp": "its head has a hidden layer",
    "cosine": "its head compares directions with class means",
    "neighbours": "its head lets stored training samples vote (k-NN)",
}


def library_of(subject: Subject) -> tuple[str, str, dict[str, Any]]:
    """The library, the model's name there, and the arguments of its constructor besides the number of classes."""
    about = subject.about
    return own_arguments(about.name, about.source, about.preprocessing.crop_pixels, about.preprocessing.channels)


def construct(library: str, name: str, arguments: dict[str, Any], classes: int) -> nn.Module:
    """The model as its library makes it, without anything of ours."""
    if library == "timm":
        import timm

        module = timm.create_model(name, pretrained=False, num_classes=classes, **arguments)
    else:
        from torchvision.models._api import get_model

        module = get_model(name, weights=None, num_classes=classes, **arguments)
    assert isinstance(module, nn.Module)
    return module.eval()


def plain_tensors(subject: Subject) -> dict[str, Tensor]:
    """The state dict of the plain architecture. Raises UserError where its own layers cannot hold the head."""
    head, key = subject.about.head, f"format={subject.format}"
    other = "format=onnx and format=torch_export take the network as it is."
    reason = _OTHER_HEADS.get(head.kind)
    if reason is None and (head.stages or head.pooling != "auto"):
        reason = f"its head reads {', '.join(head.stages) or 'features'} pooled by strategy.pooling={head.pooling}"
    if head.kind not in LINEAR or reason is not None:
        raise UserError(f"{key}: {reason}, and {subject.about.name} has no such layers; {other}")
    own = subject.trained.network.module.state_dict()
    library, name, arguments = library_of(subject)
    channels = subject.about.preprocessing.channels
    if library == "torchvision" and channels != RGB:
        asked = f"dataset.channels={channels}"
        raise UserError(f"{key}: torchvision builds {name} for RGB alone, and the run has {asked}; {other}")
    wanted = construct(library, name, arguments, len(subject.about.classes)).state_dict()
    if own.keys() != wanted.keys() or any(own[key].numel() != wanted[key].numel() for key in wanted):
        raise UserError(f"{key}: the layers of its head are not those that {library} gives {name}; {other}")
    # A linear map may be a convolution of one pixel there.
    tensors = OrderedDict((key, own[key].reshape(tensor.shape).contiguous()) for key, tensor in wanted.items())
    # The versions of modules, which a file of torch's keeps, and without which torchvision's MNASNet refuses to load.
    tensors._metadata = wanted._metadata  # type: ignore[attr-defined]
    return tensors


def write_timm(subject: Subject, folder: Path) -> None:
    """For timm `config.json` and `model.safetensors`, as `local-dir:` reads them; for torchvision `model.pth`."""
    tensors, (library, name, arguments) = plain_tensors(subject), library_of(subject)
    if library == "torchvision":
        torch.save(tensors, folder / STATE)
        return
    write_tensors(folder / WEIGHTS, tensors)
    about, p = subject.about, subject.about.preprocessing
    write_json(
        folder / CONFIG,
        {
            "architecture": name.split(".")[0],
            "num_classes": len(about.classes),
            "label_names": [*about.classes],
            "model_args": arguments,
            "pretrained_cfg": {
                "input_size": [p.channels, p.crop_pixels, p.crop_pixels],
                "num_classes": len(about.classes),
                "interpolation": p.interpolation,
                "crop_pct": p.crop_pixels / p.resize_pixels,
                "crop_mode": {"crop": "center", "squash": "squash", "pad": "border"}[p.fit],
                "mean": [*p.mean],
                "std": [*p.std],
            },
        },
    )


def write_safetensors(subject: Subject, folder: Path) -> None:
    """`model.safetensors`; how to construct the model is told in the JSON beside every export."""
    write_tensors(folder / WEIGHTS, plain_tensors(subject))


def open_timm(subject: Subject, folder: Path, threads: int) -> Runner:
    """What a fresh timm or torchvision model makes of the files of `write_timm`."""
    library, name, arguments = library_of(subject)
    if library == "torchvision":
        module = construct(library, name, arguments, len(subject.about.classes))
        module.load_state_dict(torch.load(folder / STATE, weights_only=True))
    else:
        import timm

        architecture = parsed_json((folder / CONFIG).read_text(encoding="utf-8"))["architecture"]
        module = timm.create_model(
            architecture,
            num_classes=len(subject.about.classes),
            checkpoint_path=str(folder / WEIGHTS),
            **arguments,
        )
    return on_threads(module.eval(), threads)


def open_safetensors(subject: Subject, folder: Path, threads: int) -> Runner:
    """What a fresh model makes of `model.safetensors`."""
    library, name, arguments = library_of(subject)
    module = construct(library, name, arguments, len(subject.about.classes))
    module.load_state_dict(load_file(folder / WEIGHTS))
    return on_threads(module, threads)
