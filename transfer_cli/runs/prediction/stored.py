"""Pixels that earlier runs have decoded and kept: where all images of an input are there, nothing is decoded anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from transfer_cli.cache.entries import Cache
from transfer_cli.data.batches import Batch, unlabelled
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import UNLABELLED, ImageFiles, Indices
from transfer_cli.data.store import formats
from transfer_cli.data.store.firstpass import FirstPass
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.packed import PackedPixels
from transfer_cli.runs.prediction.inputs import Item
from transfer_cli.runs.prediction.pixels import IMAGES_A_JOB, Look, Part, Read


def stored_parts(
    pictures: Sequence[Item],
    looks: Sequence[Look],
    channels: int | None,
    max_pixels: int | None,
    cache: Cache,
) -> Iterator[Part] | None:
    """All files in the parts in which they would be decoded; None where an image, or a view of it, is not in the cache.

    So networks have the same batches either way. Raises OSError for a cache that cannot be read.
    """
    if any(look.augment is not None for look in looks) or any("\0" in one.file for one in pictures):
        return None
    images, indices = _set_of(pictures, channels, max_pixels), np.arange(len(pictures), dtype=np.int64)
    run = FirstPass(images, cache, step=lambda count: None, say=lambda text: None)
    packed = []
    for look in looks:
        found = run.look_up(PixelRequest(formats.evaluation(look.preprocessing), indices))
        if not found.is_whole():
            return None
        packed.append(found)
    bad = {index: reason for one in packed for index, reason in one.bad.items()}
    starts = range(0, len(pictures), IMAGES_A_JOB)
    return (_part(pictures, packed, bad, indices[start : start + IMAGES_A_JOB]) for start in starts)


def _set_of(pictures: Sequence[Item], channels: int | None, max_pixels: int | None) -> ImageSet:
    files = ImageFiles("", [picture.file for picture in pictures])
    return ImageSet(
        name="input",
        classes=(),
        ids=files.keys,
        labels=np.full(len(pictures), UNLABELLED, np.int64),
        splits={},
        read=files.read,
        notes=(),
        files=True,
        max_pixels=max_pixels,
        channels=channels,
        encoded=files,
    )


def _part(pictures: Sequence[Item], packed: Sequence[PackedPixels], bad: Mapping[int, str], indices: Indices) -> Part:
    """Some files, as if they had been decoded now; `bad` are those that no image was made of, and why."""
    numbers, remarks = indices.tolist(), packed[0].remarks
    files = [
        Read(pictures[number], problem=str(DecodeError(pictures[number].file, bad[number])))
        if number in bad
        else Read(pictures[number], remark=remarks.get(number, ""))
        for number in numbers
    ]
    good = np.array([number for number in numbers if number not in bad], np.int64)
    return Part(files, [[_pixels(one, good)] for one in packed] if len(good) else [])


def _pixels(packed: PackedPixels, indices: Indices) -> Batch:
    return unlabelled(torch.from_numpy(packed.read_equal(indices)).permute(0, 3, 1, 2))
