"""Images that cannot be decoded: all of them named at once, or left out once and for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import few
from transfer_cli.data.store.packed import PackedPixels
from transfer_cli.errors import UserError, counted, one_line

LISTED_FILES = 10


def remark_notes(images: ImageSet, packed: list[PackedPixels]) -> list[str]:
    """How images are shown where their files leave that open, and which."""
    remarks: dict[int, str] = {}
    for pixels in packed:
        remarks |= pixels.remarks
    alike: dict[str, list[str]] = defaultdict(list)
    for index, remark in sorted(remarks.items()):
        alike[remark].append(images.ids[index])
    return [f"{counted(len(names), 'image')}: {remark} ({few(names)})" for remark, names in sorted(alike.items())]


def leave_out(
    images: ImageSet, packed: list[PackedPixels], on_bad: str, warn: Callable[[str], None]
) -> tuple[ImageSet, dict[int, str]]:
    """The set without images that cannot be decoded, and which these are. UserError unless they may be skipped."""
    bad: dict[int, str] = {}
    for pixels in packed:
        bad |= pixels.bad
    if not bad:
        return images, {}
    bad = dict(sorted(bad.items()))
    lines = [f"  {one_line(images.ids[index])}: {reason}" for index, reason in list(bad.items())[:LISTED_FILES]]
    lines += [f"  ... and {len(bad) - LISTED_FILES:,} more"] if len(bad) > LISTED_FILES else []
    count = f"{len(bad):,} image{'s' if len(bad) > 1 else ''} cannot be decoded"
    listing = "\n".join(lines)
    if on_bad == "error":
        raise UserError(
            f"{count}:\n{listing}\nMend or remove them, or set dataset.on_bad=skip to leave them out. "
            "Nothing was changed."
        )
    warn(f"{count} and left out:\n{listing}")
    gone = np.array(list(bad))
    splits = {name: indices[~np.isin(indices, gone)] for name, indices in images.splits.items()}
    for label in np.setdiff1d(images.labels[images.splits["train"]], images.labels[splits["train"]]):
        if label < 0 and images.classes:
            raise UserError("dataset.unlabelled: none of its images can be decoded.")
        of_class = f" of class {images.classes[label]!r}" if images.classes else ""
        raise UserError(f"dataset: no image{of_class} that is to be trained on can be decoded.")
    return replace(images, splits=splits), bad
