"""Decoded pixels in the memory of a GPU, where views are cut too: nothing is copied there after the first epoch.

Views agree with those of the host to one level of 255: the same boxes, flips and colours, another resampling kernel.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config.schema import Augment
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.device_crops import crop_resize_batch
from transfer_cli.data.store.formats import EVALUATION, TRAINING, PixelRequest
from transfer_cli.data.store.stored import parts, places
from transfer_cli.data.views import colour, geometry
from transfer_cli.data.views.geometry import Pixels

if TYPE_CHECKING:
    from transfer_cli.data.store.open import Store


def cuts_there(params: Augment, interpolation: str) -> bool:
    """Whether a GPU can cut a recipe's views: crops, flips and affine colour, bilinear."""
    host = (
        params.rotate,
        params.shear,
        params.hue,
        params.erase,
        params.trivialaugment,
        params.randaugment is not None,
    )
    return params.crop_scale is not None and interpolation == "bilinear" and not any(host)


@dataclass(frozen=True)
class _Held:
    """Pixels of samples on the device, each sample [h, w, 3] wherever it lies."""

    place: NDArray[np.int64]
    pixels: list[Tensor]

    def of(self, index: int) -> Tensor:
        return self.pixels[int(self.place[index])]


class DeviceStore:
    """What `source` has, on a device. It goes there when it is first asked for: cached features never ask."""

    where, decodes = "device", False

    def __init__(self, source: Store, wants: list[PixelRequest], device: torch.device) -> None:
        self.device, self.images_decoded = device, source.images_decoded
        self._source = source
        self._wants = {want.form.name: want for want in wants}
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def fingerprint(self, indices: Indices) -> str:
        """See Store."""
        return self._source.fingerprint(indices)

    def evaluation(self, indices: Indices) -> Pixels:
        """See Store: on the host."""
        return self._source.evaluation(indices)

    def sources(self, indices: Indices) -> list[Pixels]:
        """See Store: on the host."""
        return self._source.sources(indices)

    def placed(self, indices: Indices) -> Tensor:
        """Evaluation pixels on the device, uint8 [B, 3, S, S], channels last in memory."""
        held = self._get(EVALUATION)
        return torch.stack([held.of(int(index)) for index in indices]).permute(0, 3, 1, 2)

    def view(
        self, indices: Indices, params: Augment, seed: int, view: int, size: int
    ) -> tuple[Tensor, NDArray[np.float32] | None]:
        """Views on the device, uint8 [B, 3, size, size], and the colour maps [B, 3, 4] still to be applied."""
        held = self._get(TRAINING)
        sources = [held.of(int(index)) for index in indices]
        heights, widths = (np.array([source.shape[axis] for source in sources]) for axis in (0, 1))
        boxes = geometry.crop_boxes(params, seed, view, indices, widths, heights)
        boxes = np.stack([geometry.edges(box, size) for box in boxes])
        across, down = torch.from_numpy(geometry.flips(params, seed, view, indices)).to(self.device).unbind(1)
        made = crop_resize_batch(_padded(sources), torch.from_numpy(boxes).float().to(self.device), size, across)
        made = torch.where(down[:, None, None, None], made.flip(2), made)
        factors = colour.factors(params, seed, view, indices)
        if factors is None:
            return made, None
        sums = made.sum(dim=(2, 3), dtype=torch.int64).cpu().numpy()
        return made, colour.maps(factors, sums, size * size)

    def _get(self, form: str) -> _Held:
        with self._lock:
            if form not in self._held:
                self._held[form] = self._load(self._wants[form])
            return self._held[form]

    def _load(self, want: PixelRequest) -> _Held:
        """Copy the samples of a want to the device, piece by piece."""
        pixels: list[Tensor] = []
        for part in parts(want.indices):
            read = self._source.sources if want.form.name == TRAINING else self._source.evaluation
            arrays = list(read(part))
            flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(self.device)
            ends = np.cumsum([array.size for array in arrays])
            pixels += [flat[end - array.size : end].view(array.shape) for array, end in zip(arrays, ends, strict=True)]
        return _Held(places(want), pixels)


def _padded(sources: list[Tensor]) -> Tensor:
    """Images of different sizes, each [h, w, 3], in the corner of equal ones: [B, 3, H, W]."""
    height, width = (max(source.shape[axis] for source in sources) for axis in (0, 1))
    out = sources[0].new_zeros(len(sources), height, width, 3)
    for row, source in enumerate(sources):
        out[row, : source.shape[0], : source.shape[1]] = source
    return out.permute(0, 3, 1, 2)
