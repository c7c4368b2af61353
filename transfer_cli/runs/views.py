"""What a frozen prefix runs on: the splits of the data set, and the views of the training images."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from transfer_cli.cache.activations import Activations
from transfer_cli.cache.digests import Digests
from transfer_cli.config.schema import Augment
from transfer_cli.data.reading import decode
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.fingerprint import KIND_OF_DIGEST
from transfer_cli.data.views.augment import view_of
from transfer_cli.engine.frozen import Frozen, SplitView
from transfer_cli.runs.materials import Materials

# Training sees the pixels of evaluation where nothing varies.
NO_AUGMENT = Augment("none", None, None, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Views:
    """The splits of a run, and the views in which its training images are seen."""

    materials: Materials

    @property
    def repeat(self) -> bool:
        """Whether the views of training images come again, so that what is computed from them is worth keeping."""
        return shows_evaluation_pixels(self.materials.augment) or self.materials.augment.views is not None

    def of_epoch(self, epoch: int) -> int | None:
        """The view of an epoch; None where training sees the pixels of evaluation."""
        augment = self.materials.augment
        return None if shows_evaluation_pixels(augment) else view_of(epoch, augment)

    def all(self) -> list[tuple[str, int | None]]:
        """Every (split, view) that has images."""
        augment = self.materials.augment
        training: list[int | None] = [None] if shows_evaluation_pixels(augment) else list(range(augment.views or 0))
        pairs = [("train", view) for view in training] + [("val", None), ("test", None)]
        return [(split, view) for split, view in pairs if len(self.materials.images.splits[split])]

    def split(self, split: str, view: int | None) -> SplitView:
        """The samples of a split in a view."""
        m = self.materials
        indices, store = m.images.splits[split], m.pixels.store
        form: dict[str, Any] = {"decoder": decode.VERSION, "preprocessing": m.preprocessing.to_dict()}
        key = {"samples": store.fingerprint(indices), **form}
        if view is not None:
            recipe = view_recipe(m.augment, m.experiment.seed, m.experiment.dataset.source_factor)
            form["augment"] = recipe
            key["augment"] = {**recipe, "indices": _sha256(indices)}
        return SplitView(
            split,
            view,
            len(indices),
            key,
            form={**form, "samples": KIND_OF_DIGEST},
            samples=lambda: store.hashes(indices) if view is None else _numbered(store.hashes(indices), indices),
            some=lambda positions, size: m.of(indices[positions], size, view),
        )


class SplitActivations:
    """Activations of every split and view of a run, each opened once."""

    def __init__(self, frozen: Frozen, materials: Materials) -> None:
        self.views = Views(materials)
        self._frozen = frozen
        self._open: dict[tuple[str, int | None], Activations] = {}

    def of(self, split: str, view: int | None) -> Activations:
        """One row a sample of a split, in data set order; computed now if no run before has done it."""
        if (split, view) not in self._open:
            self._open[split, view] = self._frozen.of(self.views.split(split, view))
        return self._open[split, view]

    def of_epoch(self, epoch: int) -> Activations:
        """Those of the training samples in the view of an epoch."""
        return self.of("train", self.views.of_epoch(epoch))

    def identity(self) -> str:
        """Digits that all with the same entries have in common: what was shown, in which views, to what, and how."""
        keys = [(*one, self._frozen.key(self.views.split(*one))) for one in self.views.all()]
        return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()

    def compute(self) -> None:
        """Fill what is missing of all splits and views."""
        for split, view in self.views.all():
            self.of(split, view)


def shows_evaluation_pixels(augment: Augment) -> bool:
    """Whether every view is the pixels of evaluation, whatever the recipe is called."""
    own = {"name": NO_AUGMENT.name, "views": None, "crop_ratio": NO_AUGMENT.crop_ratio, "mixup": 0.0, "cutmix": 0.0}
    return replace(augment, **own) == NO_AUGMENT  # type: ignore[arg-type]


def view_recipe(augment: Augment, seed: int, source_factor: float) -> dict[str, Any]:
    """All that a view depends on besides the samples and their numbers in the set."""
    recipe = {key: value for key, value in asdict(augment).items() if key not in ("name", "views")}
    return {"recipe": recipe, "seed": seed, "source_factor": source_factor}


def _sha256(indices: Indices) -> str:
    return hashlib.sha256(np.ascontiguousarray(indices).tobytes()).hexdigest()


def _numbered(hashes: Digests, indices: Indices) -> Digests:
    """With the number of each sample, on which its view depends: [N, 40]."""
    numbers = np.ascontiguousarray(indices, np.int64).view(np.uint8).reshape(len(indices), -1)
    return np.concatenate([hashes, numbers], axis=1)
