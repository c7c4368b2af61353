"""Decoded pixels in the memory of a GPU, where views are cut too: nothing is copied there after the first epoch.

Views agree with those of the host to one level of 255, in one of ten thousand numbers to two: the same boxes, flips and
colours, another resampling kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config.schema import Augment
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.device_crops import FILTERS, Cuts, crop_resize_batch
from transfer_cli.data.store.formats import EVALUATION, TRAINING, PixelRequest
from transfer_cli.data.store.host import host_views
from transfer_cli.data.store.protocol import HostPixels, ViewRecipe
from transfer_cli.data.store.stored import Positions, chunks
from transfer_cli.data.views import colour, geometry
from transfer_cli.errors import first_line, is_out_of_memory


def cuts_there(params: Augment, interpolation: str) -> bool:
    """Whether a GPU can cut a recipe's views: crops, flips and affine colour, in its interpolations."""
    host = (
        params.rotate,
        params.shear,
        params.hue,
        params.erase,
        params.trivialaugment,
        params.randaugment is not None,
    )
    return params.crop_scale is not None and interpolation in FILTERS and not any(host)


@dataclass(frozen=True)
class _Held:
    """Pixels of samples on the device, each sample [h, w, C] wherever it lies."""

    positions: Positions
    pixels: list[Tensor]
    places: NDArray[np.int64]
    """[N, 3]: the address of each, its height and width."""

    def of(self, indices: Indices) -> tuple[list[Tensor], NDArray[np.int64]]:
        """The pixels of samples, and their places."""
        rows = self.positions.of(indices)
        return [self.pixels[row] for row in rows], self.places[rows]


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
        sources, _ = self._get(EVALUATION).of(indices)
        return torch.stack(sources).permute(0, 3, 1, 2)

    def views(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
        """Views cut on the device where it can, else on the host: uint8 [B, C, S, S] and colour maps [B, 3, 4]."""
        if not cuts_there(recipe.augment, recipe.interpolation):
            return host_views(self._pixels, indices, recipe, view)
        with self._apart():
            made, maps = self._cut(indices, recipe, view)
        if made.device.type == "cuda":
            # Whoever trains reads them on the stream of training.
            training = torch.cuda.default_stream(made.device)
            made.record_stream(training)
            if maps is not None:
                maps.record_stream(training)
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

    def _cut(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
        params, size, drawn = recipe.augment, recipe.crop_pixels, (recipe.seed, view, indices)
        sources, places = self._get(TRAINING).of(indices)
        _, heights, widths = places.T
        boxes = geometry.crop_boxes(params, *drawn, widths, heights)
        limits = geometry.limits(boxes, size, widths, heights)
        edges, flips = geometry.edges(boxes, size), geometry.flips(params, *drawn)
        factors = colour.factors(params, *drawn)
        draws: list[NDArray[Any]] = [places, edges.astype(np.float32), limits.astype(np.int32), flips]
        sent = _sent(draws if factors is None else [*draws, factors], self.device)
        made = self._crops(sources, sent[0], Cuts(*sent[1:4]), size, recipe.interpolation)
        if factors is None:
            return made, None
        return made, colour.maps_there(sent[4], made.sum(dim=(2, 3), dtype=torch.int64), size * size)

    def _crops(self, sources: list[Tensor], places: Tensor, cuts: Cuts, size: int, interpolation: str) -> Tensor:
        """Cuts of images, which lie at `places` [B, 3]: uint8 [B, C, size, size].

        By one kernel, or else, which is said once, by products of matrices of padded images.
        """
        if self._has_kernel:
            try:
                from transfer_cli.data.store.device_kernel import cut

                return cut(places, cuts, size, sources[0].shape[2], interpolation)
            except Exception as error:  # Triton has many: it is not there, it has no compiler, it does not know the GPU
                if is_out_of_memory(error):
                    raise
                self._has_kernel = False
                self._warn(f"views are cut on the GPU without Triton, which is slower: {first_line(error)}")
        return crop_resize_batch(_padded(sources), cuts, size, interpolation)

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
        places = np.array([(one.data_ptr(), *one.shape[:2]) for one in pixels], np.int64).reshape(-1, 3)
        return _Held(Positions(request), pixels, places)


def _sent(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """Arrays of the host on the device, all in one copy, which the host does not wait for."""
    tensors = [torch.from_numpy(array) for array in arrays]
    # Each at a multiple of 16 bytes: Triton compiles anew for pointers that are at none.
    starts = np.cumsum([0, *(-(-tensor.nbytes // 16) * 16 for tensor in tensors)]).tolist()
    buffer = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")

    def parts(whole: Tensor) -> list[Tensor]:
        bytes_of = [whole[start : start + one.nbytes] for one, start in zip(tensors, starts[:-1], strict=True)]
        return [part.view(one.dtype).view(one.shape) for part, one in zip(bytes_of, tensors, strict=True)]

    for part, tensor in zip(parts(buffer), tensors, strict=True):
        part.copy_(tensor)
    return parts(buffer.to(device, non_blocking=True))


def _padded(sources: list[Tensor]) -> Tensor:
    """Images of different sizes, each [h, w, C], in the corner of equal ones: [B, C, H, W]."""
    height, width = (max(source.shape[axis] for source in sources) for axis in (0, 1))
    out = sources[0].new_zeros(len(sources), height, width, sources[0].shape[2])
    for row, source in enumerate(sources):
        out[row, : source.shape[0], : source.shape[1]] = source
    return out.permute(0, 3, 1, 2)
