"""strategy=extract without labels: features of images, what the network's own head calls them, groups of like ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config.extract import Extract
from transfer_cli.csv_files import write_csv
from transfer_cli.engine.frozen import Frozen
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import counted
from transfer_cli.methods.clusters import Clusters, cluster
from transfer_cli.models.tensors import replace_tensors
from transfer_cli.records import sheet
from transfer_cli.records.events import Recorders
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.finish import Outcome
from transfer_cli.runs.frozen.backbone import Backbone
from transfer_cli.runs.frozen.features import images_elsewhere
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.pretrained import parameter_counts
from transfer_cli.runs.views import Views

FEATURES, INDEX = "features.safetensors", "index.csv"
TOP = 5
SHOWN_OF_GROUP = 10
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class UnlabelledJob:
    """All images of a set through a backbone that keeps the head it came with, where it came with one."""

    materials: Materials
    config: Extract
    backbone: Backbone
    frozen: Frozen
    world: World = ALONE
    """The ranks that compute features together."""

    @property
    def precision(self) -> str:
        """Of the backbone."""
        return self.frozen.compute.precision

    def run(self, directory: Path, recorders: Recorders, reporter: Reporter, stop: Stop) -> Outcome:
        """Write features, index and groups into the run directory."""
        m, started = self.materials, time.perf_counter()
        indices = np.concatenate([m.images.splits[split] for split in SPLITS])
        features = self._features()
        elsewhere = images_elsewhere(self.frozen, self.world)
        groups = cluster(features, self.config.groups, m.experiment.seed)
        replace_tensors(directory / FEATURES, {"features": features})
        self._write_index(directory, indices, features, groups)
        (directory / "plots").mkdir(exist_ok=True)
        self._draw_groups(directory / "plots" / "groups.png", indices, groups)
        reporter.say(
            f"features  {len(features):,} x {features.shape[1]} in {FEATURES}, {groups.count} groups in {INDEX}"
        )
        seconds = time.perf_counter() - started
        return Outcome(
            best_epoch=0,
            val=None,
            step=0,
            precision=self.precision,
            save_model=lambda run: None,
            test_outputs=lambda: None,
            parameters=parameter_counts(self.backbone.network, trainable=False),
            weights=(m.pretrained.source.label, self.backbone.weights_sha256),
            train_seconds=seconds,
            images=len(features),
            more={
                **({"ranks": self.world.size} if self.world.size > 1 else {}),
                "backbone_images": self.frozen.images_computed + elsewhere,
                "feature_width": features.shape[1],
            },
        )

    def compute(self) -> None:
        """Compute the features that are missing, which is all that other ranks than the first do."""
        self._features()
        images_elsewhere(self.frozen, self.world)

    def _features(self) -> Tensor:
        """[N, D] float32, split after split."""
        views = Views(self.materials)
        there = [split for split in SPLITS if len(self.materials.images.splits[split])]
        found = [self.frozen.of(views.split(split, None)) for split in there]
        return torch.cat([rows.rows(np.arange(len(rows))) for rows in found]).float()

    def _write_index(self, directory: Path, indices: NDArray[np.int64], features: Tensor, groups: Clusters) -> None:
        ids, names = self.materials.images.ids, self.backbone.own_classes
        columns = ["row", "path", "group"]
        guesses: list[list[str]] = [[] for _ in indices]
        if names and self.config.pooling == "auto" and not self.config.stages:
            top = min(TOP, len(names))
            columns += [f"{what}_{rank}" for rank in range(1, top + 1) for what in ("label", "probability")]
            guesses = self._guesses(features, names, top)
        rows = [[row, ids[index], int(groups.of[row]), *guesses[row]] for row, index in enumerate(indices.tolist())]
        write_csv(directory / INDEX, columns, rows)

    @torch.inference_mode()
    def _guesses(self, features: Tensor, names: tuple[str, ...], top: int) -> list[list[str]]:
        """For each image the likeliest classes of the network's own head, each with its probability."""
        network, rows = self.backbone.network, []
        for part in features.split(4096):
            logits = network.forward_from(len(network.stages) - 1, part.to(self.materials.device))
            values, positions = logits.float().softmax(1).topk(top)
            for probabilities, classes in zip(values.tolist(), positions.tolist(), strict=True):
                pairs = zip(classes, probabilities, strict=True)
                rows.append([text for label, p in pairs for text in (names[label], f"{p:.4f}")])
        return rows

    def _draw_groups(self, path: Path, indices: NDArray[np.int64], groups: Clusters) -> None:
        """The images nearest to the centre of each group, a row each, as the network sees them."""
        rows, names = [], []
        for number in range(groups.count):
            nearest = groups.nearest(number, SHOWN_OF_GROUP)
            rows.append(list(self.materials.pixels.store.evaluation(indices[nearest])))
            names.append(f"group {number}: {counted(int((groups.of == number).sum()), 'image')}")
        sheet.groups(rows, names, path)
