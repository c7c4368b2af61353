"""Heat over images of a trained model, read at the last maps before they are pooled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transfer_cli.data.batches import unlabelled
from transfer_cli.errors import UserError
from transfer_cli.methods.attribution import as_activations, as_maps, grad_cam
from transfer_cli.models.network import has_channels_last, prefix_tokens
from transfer_cli.runs.saved_model import Trained

_STRENGTH = 0.55


@dataclass(frozen=True)
class Explained:
    """An image, what the model calls it, and where it saw that."""

    predicted: str
    probability: float
    heat: NDArray[np.float32]
    """[H, W], from 0 to 1."""

    def over(self, pixels: NDArray[np.uint8]) -> Image.Image:
        """The image [S, S, 3], and beside it the same with its heat."""
        import matplotlib

        side = len(pixels)
        heat = Image.fromarray((255 * self.heat).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        share = np.asarray(heat, np.float32)[..., None] / 255
        colours = matplotlib.colormaps["inferno"](share[..., 0])[..., :3] * 255
        weight = _STRENGTH * np.sqrt(share)
        shown = (1 - weight) * pixels + weight * colours
        return Image.fromarray(np.concatenate([pixels, shown.round().astype(np.uint8)], axis=1))


def explain(trained: Trained, pixels: NDArray[np.uint8], wanted: str | None = None) -> Explained:
    """Heat of the class that the model gives to pixels [S, S, C], or of the class `wanted`.

    Raises UserError for a model without maps of places.
    """
    network, classes = trained.network, trained.about.classes
    batch = unlabelled(torch.from_numpy(pixels[None].transpose(0, 3, 1, 2).copy()))
    inputs = trained.to_device(batch).inputs
    with torch.no_grad():
        probabilities = network(inputs).float().softmax(1)[0]
        boundary, activations = _last_maps(trained, inputs)
    prefix, last = prefix_tokens(network.module), has_channels_last(network.module)
    maps = as_maps(activations, prefix, channels_last=last)
    assert maps is not None
    index = int(probabilities.argmax()) if wanted is None else classes.index(wanted)

    def logits(found: Tensor) -> Tensor:
        return network.forward_from(boundary, as_activations(found, activations, prefix, channels_last=last))

    heat = grad_cam(maps, logits, torch.tensor([index], device=maps.device))[0]
    return Explained(classes[index], float(probabilities[index]), heat.float().cpu().numpy())


def _last_maps(trained: Trained, inputs: Tensor) -> tuple[int, Tensor]:
    """The last stage whose input has places that the logits depend on, and that input.

    Behind the last block of a transformer only the class token counts: its patches are read before that block.
    """
    network = trained.network
    prefix, last = prefix_tokens(network.module), has_channels_last(network.module)
    if network.readout is None and network.has_features:
        pool = len(network.stages) - 2
        for boundary in (pool, pool - 1):
            activations = network.forward_to(boundary, inputs)
            pooled_tokens = activations.ndim == 3 and boundary == pool
            maps = as_maps(activations, prefix, channels_last=last)
            if boundary > 0 and maps is not None and not pooled_tokens:
                return boundary, activations
    raise UserError(
        f"{trained.about.name}: no maps of places are known before its features, so nothing can be shown on an image."
    )
