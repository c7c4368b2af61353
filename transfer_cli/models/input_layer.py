"""The first layer of a network for pictures of other channels than RGB, and pretrained weights for it.

As timm does it: for one channel the weights of the three are added up, for more they are repeated in turn and scaled by
3/C, so that activations keep their size.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from transfer_cli.errors import UserError

RGB = 3


def replace_first(name: str, module: nn.Module, channels: int) -> None:
    """Let the only convolution of RGB images take so many channels, its weights drawn anew.

    Raises UserError for a network that has none, or several.
    """
    found = [
        (path, part) for path, part in module.named_modules() if isinstance(part, nn.Conv2d) and part.in_channels == RGB
    ]
    if len(found) != 1 or found[0][1].groups != 1:
        raise unadaptable(name, channels, "its images do not go through one convolution of three channels")
    path, old = found[0]
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    # As wide as it was drawn for three channels, so that what comes out keeps its size.
    nn.init.normal_(new.weight, std=float(old.weight.detach().std()) * math.sqrt(RGB / channels))
    if old.bias is not None and new.bias is not None:
        new.bias.data.copy_(old.bias.data)
    module.set_submodule(path, new)


def adapted(name: str, tensors: dict[str, Tensor], module: nn.Module, channels: int) -> dict[str, Tensor]:
    """Tensors of a network for RGB images, those of its first convolution as the network takes them.

    Those that have its channels already stay. Raises UserError for a first layer that is no such convolution.
    """
    if channels == RGB:
        return tensors
    own = module.state_dict()
    return {
        path: _converted(name, tensor, own[path], channels)
        if path in own and _is_of_input(tensor, own[path], channels)
        else tensor
        for path, tensor in tensors.items()
    }


def _is_of_input(tensor: Tensor, own: Tensor, channels: int) -> bool:
    """Whether a tensor differs from the network's own only in that RGB comes in; it may come in by patches."""
    if tensor.ndim != own.ndim or tensor.ndim < 2 or tensor.shape[1] == own.shape[1]:
        return False
    others = tensor.shape[:1] + tensor.shape[2:] == own.shape[:1] + own.shape[2:]
    return others and tensor.shape[1] * channels == own.shape[1] * RGB


def _converted(name: str, tensor: Tensor, own: Tensor, channels: int) -> Tensor:
    from timm.models import adapt_input_conv

    try:
        converted = adapt_input_conv(channels, tensor)
    except (NotImplementedError, ValueError) as error:
        raise unadaptable(name, channels, "its first layer is no convolution of three channels") from error
    if not isinstance(converted, Tensor) or converted.shape != own.shape:
        raise unadaptable(name, channels, "its first layer is no convolution of three channels")
    return converted


def unadaptable(name: str, channels: int, reason: str) -> UserError:
    """The error for a network, or weights, that cannot take so many channels."""
    return UserError(
        f"dataset.channels={channels}: {name} cannot be adapted to so many channels ({reason}). Take another model, or "
        "model.weights=none where it is the weights alone that cannot."
    )
