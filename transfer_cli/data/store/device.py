"""Decoded pixels in the memory of a GPU, where views are cut too: nothing is copied there after the first epoch.

Views agree with those of the host to one level of 255, in one of ten thousand numbers to two: the same boxes, flips and
colours, another resampling kernel.
"""

from __future__ import annotations

import threading
from collections import deque
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
from transfer_cli.data.store.fingerprint import fingerprint
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
    sizes: NDArray[np.int64]
    """[N, 2]: the height and width of each."""
    places: Tensor
    """[N, 3]: the address of each, its height and width; on the device."""

    def of(self, indices: Indices) -> list[Tensor]:
        """The pixels of samples."""
        return [self.pixels[row] for row in self.positions.of(indices)]


@dataclass(frozen=True)
class _Drawn:
    """What a recipe draws for one view of all samples that are held, on the device."""

    recipe: ViewRecipe
    view: int
    cuts: Cuts
    factors: Tensor | None
    """Of the colours."""


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
        self.hashes, self.evaluation, self.sources = pixels.hashes, pixels.evaluation, pixels.sources
        self._pixels = pixels
        self._requests = {request.format.name: request for request in requests}
        self._held: dict[str, _Held] = {}
        self._drawn: deque[_Drawn] = deque(maxlen=2)
        self._luma: Tensor | None = None
        self._lock = threading.Lock()
        self._stream: torch.cuda.Stream | None = None
        self._has_kernel, self._warn = device.type == "cuda", warn

    def fingerprint(self, indices: Indices) -> str:
        """A digest of what the files of samples hold, in this order."""
        return fingerprint(self.hashes(indices))

    def batch(self, indices: Indices) -> Tensor:
        """Evaluation pixels on the device, uint8 [B, C, S, S], channels last in memory."""
        with self._apart():
            made = torch.stack(self._get(EVALUATION).of(indices)).permute(0, 3, 1, 2)
        return _for_training(made)

    def views(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
        """Views cut on the device where it can, else on the host: uint8 [B, C, S, S] and colour maps [B, 3, 4]."""
        if not cuts_there(recipe.augment, recipe.interpolation):
            return host_views(self._pixels, indices, recipe, view)
        with self._apart():
            made, maps = self._cut(indices, recipe, view)
        return _for_training(made), None if maps is None else _for_training(maps)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Within, the GPU works on a stream of its own, and is done at the end.

        So no batch waits for a training step, and whatever stream reads it finds it made.
        """
        if self.device.type != "cuda":
            yield
            return
        with self._lock:
            # One of all threads: what one has put on it, such as the pixels, is there for the others' work.
            if self._stream is None:
                self._stream = torch.cuda.Stream(self.device)
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()

    def _cut(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
        held, size = self._get(TRAINING), recipe.crop_pixels
        drawn = self._drawn_for(held, recipe, view)
        (rows,) = _sent([held.positions.of(indices)], self.device)
        made, sums = self._crops(held, indices, rows, drawn.cuts, size, recipe.interpolation)
        if drawn.factors is None:
            return made, None
        if self._luma is None:
            self._luma = colour.luma_there(self.device)
        return made, colour.maps_there(drawn.factors[rows], sums, size * size, self._luma)

    def _drawn_for(self, held: _Held, recipe: ViewRecipe, view: int) -> _Drawn:
        """Drawn once for a whole epoch: for each batch apart it took 1.7 of the 2.3 ms of 128 views on an H200."""
        with self._lock:
            found = next((one for one in self._drawn if (one.recipe, one.view) == (recipe, view)), None)
            if found is None:
                found = self._draw(held, recipe, view)
                self._drawn.append(found)
            return found

    def _draw(self, held: _Held, recipe: ViewRecipe, view: int) -> _Drawn:
        params, size, (heights, widths) = recipe.augment, recipe.crop_pixels, held.sizes.T
        drawn = recipe.seed, view, self._requests[TRAINING].indices
        boxes = geometry.crop_boxes(params, *drawn, widths, heights)
        limits = geometry.limits(boxes, size, widths, heights)
        edges, flips = geometry.edges(boxes, size), geometry.flips(params, *drawn)
        factors = colour.factors(params, *drawn)
        draws: list[NDArray[Any]] = [edges.astype(np.float32), limits.astype(np.int32), flips]
        sent = _sent(draws if factors is None else [*draws, factors], self.device)
        return _Drawn(recipe, view, Cuts(*sent[:3]), None if factors is None else sent[3])

    def _crops(
        self, held: _Held, indices: Indices, rows: Tensor, cuts: Cuts, size: int, interpolation: str
    ) -> tuple[Tensor, Tensor]:
        """Cuts of samples, which are in these rows of what is held: uint8 [B, C, size, size]; and sums, int64 [B, C].

        By one kernel, or else, which is said once, by products of matrices of padded images.
        """
        if self._has_kernel:
            try:
                from transfer_cli.data.store.device_kernel import cut

                return cut(rows, held.places, cuts, size, held.pixels[0].shape[2], interpolation)
            except Exception as error:  # Triton has many: it is not there, it has no compiler, it does not know the GPU
                if is_out_of_memory(error):
                    raise
                self._has_kernel = False
                self._warn(f"views are cut on the GPU without Triton, which is slower: {first_line(error)}")
        own = Cuts(*(part[rows] for part in cuts))
        made = crop_resize_batch(_padded(held.of(indices)), own, size, interpolation)
        return made, made.sum(dim=(2, 3), dtype=torch.int64)

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
        return _Held(Positions(request), pixels, places[:, 1:], _sent([places], self.device)[0])


def _for_training(tensor: Tensor) -> Tensor:
    """A tensor of a stream of its own, which nobody gets the memory of before the stream of training is done with."""
    if tensor.device.type == "cuda":
        tensor.record_stream(torch.cuda.default_stream(tensor.device))
    return tensor


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
