"""Decoded pixels in the memory of a GPU, where views are cut too: nothing is copied there after the first epoch.

Views agree with those of the host to one level of 255: the same boxes, flips and colours, another resampling kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config.schema import Augment
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.device_crops import crop_resize_batch
from transfer_cli.data.store.formats import EVALUATION, TRAINING, PixelRequest
from transfer_cli.data.store.host import host_views
from transfer_cli.data.store.protocol import HostPixels, ViewRecipe
from transfer_cli.data.store.stored import Positions, chunks
from transfer_cli.data.views import colour, geometry
from transfer_cli.errors import first_line, is_out_of_memory


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
    """Pixels of samples on the device, each sample [h, w, C] wherever it lies."""

    positions: Positions
    pixels: list[Tensor]

    def of(self, indices: Indices) -> list[Tensor]:
        return [self.pixels[position] for position in self.positions.of(indices)]


class DeviceStore:
    """What `pixels` has, on a device. It goes there when it is first asked for: cached features never ask."""

    where, decodes = "device", False

    def __init__(
        self,
        pixels: HostPixels,
        requests: list[PixelRequest],
        device: torch.device,
        warn: Callable[[str], None],
        images_decoded: int = 0,
    ) -> None:
        self.device, self.images_decoded = device, images_decoded
        self.fingerprint, self.evaluation, self.sources = pixels.fingerprint, pixels.evaluation, pixels.sources
        self._pixels = pixels
        self._requests = {request.format.name: request for request in requests}
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._stream: torch.cuda.Stream | None = None
        self._has_kernel, self._warn = device.type == "cuda", warn

    def batch(self, indices: Indices) -> Tensor:
        """Evaluation pixels on the device, uint8 [B, C, S, S], channels last in memory."""
        held = self._get(EVALUATION)
        return torch.stack(held.of(indices)).permute(0, 3, 1, 2)

    def views(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, NDArray[np.float32] | None]:
        """Views cut on the device where it can, else on the host: uint8 [B, C, S, S] and colour maps [B, 3, 4]."""
        if not cuts_there(recipe.augment, recipe.interpolation):
            return host_views(self._pixels, indices, recipe, view)
        with self._apart():
            made, maps = self._cut(indices, recipe, view)
        if made.device.type == "cuda":
            # Whoever trains reads them on the stream of training.
            made.record_stream(torch.cuda.default_stream(made.device))
        return made, maps

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Within, the GPU works on a stream of its own, and is done at the end: no view waits for a training step."""
        if self.device.type != "cuda":
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()

    def _cut(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, NDArray[np.float32] | None]:
        params, size, drawn = recipe.augment, recipe.crop_pixels, (recipe.seed, view, indices)
        sources = self._get(TRAINING).of(indices)
        heights, widths = (np.array([source.shape[axis] for source in sources]) for axis in (0, 1))
        boxes = geometry.crop_boxes(params, *drawn, widths, heights)
        boxes = np.stack([geometry.edges(box, size) for box in boxes])
        flips = torch.from_numpy(geometry.flips(params, *drawn))
        made = self._crops(sources, torch.from_numpy(boxes).float(), flips, size)
        factors = colour.factors(params, *drawn)
        if factors is None:
            return made, None
        sums = made.sum(dim=(2, 3), dtype=torch.int64).cpu().numpy()
        return made, colour.maps(factors, sums, size * size)

    def _crops(self, sources: list[Tensor], boxes: Tensor, flips: Tensor, size: int) -> Tensor:
        """Boxes [B, 4] of images, mirrored by `flips` [B, 2]: uint8 [B, C, size, size].

        By one kernel, or else, which is said once, by products of matrices of padded images.
        """
        if self._has_kernel:
            try:
                from transfer_cli.data.store.device_kernel import cut

                return cut(sources, boxes, flips, size)
            except Exception as error:  # Triton has many: it is not there, it has no compiler, it does not know the GPU
                if is_out_of_memory(error):
                    raise
                self._has_kernel = False
                self._warn(f"views are cut on the GPU without Triton, which is slower: {first_line(error)}")
        across, down = flips.to(self.device).unbind(1)
        made = crop_resize_batch(_padded(sources), boxes.to(self.device), size, across)
        return torch.where(down[:, None, None, None], made.flip(2), made)

    def _get(self, name: str) -> _Held:
        with self._lock:
            if name not in self._held:
                self._held[name] = self._load(self._requests[name])
            return self._held[name]

    def _load(self, request: PixelRequest) -> _Held:
        """Copy the samples of a request to the device, chunk by chunk."""
        pixels: list[Tensor] = []
        for chunk in chunks(request.indices):
            read = self._pixels.sources if request.format.name == TRAINING else self._pixels.evaluation
            arrays = list(read(chunk))
            flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(self.device)
            ends = np.cumsum([array.size for array in arrays])
            pixels += [flat[end - array.size : end].view(array.shape) for array, end in zip(arrays, ends, strict=True)]
        return _Held(Positions(request), pixels)


def _padded(sources: list[Tensor]) -> Tensor:
    """Images of different sizes, each [h, w, C], in the corner of equal ones: [B, C, H, W]."""
    height, width = (max(source.shape[axis] for source in sources) for axis in (0, 1))
    out = sources[0].new_zeros(len(sources), height, width, sources[0].shape[2])
    for row, source in enumerate(sources):
        out[row, : source.shape[0], : source.shape[1]] = source
    return out.permute(0, 3, 1, 2)
