"""augment=auto: how far images may be varied without becoming another class, measured before training.

A head is fitted to the frozen features of some training images as they are, and reads validation images that were
varied one way at a time. What costs it anything is left out: mirroring of letters, turning of what
stands upright, crops that cut the object away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from transfer_cli.config.auto import AUTO, MEASURED
from transfer_cli.config.convert import to_plain
from transfer_cli.config.schema import Augment, Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import task_of
from transfer_cli.models.network import Network
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.frozen.activation_caching import frozen_prefix
from transfer_cli.runs.frozen.probe import fit_probe
from transfer_cli.runs.machine import Machine
from transfer_cli.runs.materials import Materials, Plan, open_pixels
from transfer_cli.runs.pretrained import Pretrained
from transfer_cli.runs.views import NO_AUGMENT, SplitActivations
from transfer_cli.strategies.extract import Fitted

RESOLVED = "measured"
FITTED_TO, READ = 800, 400
"""How many images the head is fitted to, and how many it reads."""
SMALL_CROPS: dict[str, Any] = {"crop_scale": (0.7, 1.0), "crop_ratio": (0.85, 1.18)}
USUAL_CROPS: dict[str, Any] = {"crop_scale": (0.35, 1.0), "crop_ratio": (0.75, 1.3333333)}
COLOUR: dict[str, Any] = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2}
MAY_COST = 0.01
"""The share of images that may be lost; harmless variations lose none, and noise should not pass for harmless."""
USUAL_CROPS_MAY_COST, SMALL_CROPS_MAY_COST = 0.05, 0.15
"""What crops may lose besides, as a share of what was right: they show less, and training learns from that as well."""


@dataclass(frozen=True)
class Cost:
    """What a variation costs: the share of images read rightly before and after."""

    before: float
    after: float

    @property
    def points(self) -> float:
        """The drop, as a share of all images."""
        return self.before - self.after

    def bearable(self, share: float = 0.0) -> bool:
        """Whether hardly more is lost than nothing, and `share` of what was right besides."""
        return self.points <= MAY_COST + share * self.before


VARIATIONS: dict[str, dict[str, Any]] = {
    "mirroring": {"flip": 1.0},
    "turning upside down": {"vertical_flip": 1.0},
    "turning by any angle": {"rotate": 180.0, "crop_scale": (1.0, 1.0)},
    "colour": COLOUR,
    "crops of 70 %": SMALL_CROPS,
    "crops of 35 %": USUAL_CROPS,
}


def with_augmentation(
    e: Experiment,
    network: Network,
    machine: Machine,
    pretrained: Pretrained,
    images: ImageSet,
    reporter: Reporter,
    stop: Stop,
) -> Experiment:
    """`augment=auto` as a recipe; what the command says of single keys stays. `network` has its pretrained weights."""
    if e.augment.name != AUTO:
        return e
    obstacle = _obstacle(network, pretrained, images)
    if obstacle is not None:
        reporter.say(f"auto      augment: small crops alone, the rest is not known to be harmless ({obstacle})")
        return replace(e, augment=_completed(e.augment, SMALL_CROPS))
    costs = _measure(_sample(e, machine, pretrained, images, reporter, stop), network, reporter, stop)
    allowed = recipe(costs)
    drops = ", ".join(f"{name} {100 * cost.points:.1f}" for name, cost in costs.items())
    reporter.say(f"auto      augment: {described(allowed)}; points of accuracy that such changes cost a probe: {drops}")
    return replace(e, augment=_completed(e.augment, allowed))


def recipe(costs: dict[str, Cost]) -> dict[str, Any]:
    """The keys of `augment` that the costs of `VARIATIONS` allow."""
    allowed: dict[str, Any] = {}
    if costs["mirroring"].bearable():
        allowed["flip"] = 0.5
    if costs["turning upside down"].bearable() and costs["turning by any angle"].bearable():
        allowed |= {"vertical_flip": 0.5, "rotate": 180.0}
    if "colour" in costs and costs["colour"].bearable():
        allowed |= COLOUR
    if costs["crops of 35 %"].bearable(USUAL_CROPS_MAY_COST):
        allowed |= USUAL_CROPS
    elif costs["crops of 70 %"].bearable(SMALL_CROPS_MAY_COST):
        allowed |= SMALL_CROPS
    elif "rotate" in allowed:
        allowed["crop_scale"] = (1.0, 1.0)
    return allowed


def described(allowed: dict[str, Any]) -> str:
    """The recipe in words."""
    crops = allowed.get("crop_scale")
    words = [
        *([f"crops of {100 * crops[0]:.0f} to 100 %"] if crops is not None and crops[0] < 1 else ["no crops"]),
        "mirroring" if "flip" in allowed else "no mirroring",
        *(["turning"] if "rotate" in allowed else []),
        "mild colour" if "brightness" in allowed else "colour as it is",
    ]
    return ", ".join(words)


def _completed(asked: Augment, allowed: dict[str, Any]) -> Augment:
    """`allowed` where the command says nothing else."""
    said = to_plain(asked)
    own = {key: value for key, value in allowed.items() if said[key] == MEASURED[key]}
    return replace(asked, name=RESOLVED, **own)


def _obstacle(network: Network, pretrained: Pretrained, images: ImageSet) -> str | None:
    """Why nothing can be measured, or None."""
    if pretrained.source.kind == "none":
        return "random weights see nothing"
    if not network.has_features or network.readout is not None:
        return "this model has no features to read"
    if not images.labelled("val"):
        return "there are no validation images"
    return None


def _sample(
    e: Experiment, machine: Machine, pretrained: Pretrained, images: ImageSet, reporter: Reporter, stop: Stop
) -> Materials:
    """Some of the images, those of validation as sources of views as well."""
    some = replace(
        images,
        splits={
            "train": _some(images, "train", FITTED_TO, e.seed),
            "val": _some(images, "val", READ, e.seed),
            "test": np.empty(0, np.int64),
        },
    )
    train, val = some.splits["train"], some.splits["val"]
    requests = [
        PixelRequest(formats.training(pretrained.preprocessing, e.dataset.source_factor), val),
        PixelRequest(formats.evaluation(pretrained.preprocessing), np.union1d(train, val)),
    ]
    pixels = open_pixels(e, some, requests, machine.cache, reporter, stop)
    return Materials(e, machine, pretrained, Plan(1, NO_AUGMENT), task_of(e, images.classes), pixels)


def _measure(m: Materials, network: Network, reporter: Reporter, stop: Stop) -> dict[str, Cost]:
    compute = Compute(m.device, "fp32")
    with stop, torch.random.fork_rng([m.device] if m.device.type == "cuda" else []):
        head = fit_probe(m, network, 0, compute, None, Reporter(quiet=True), stop)
        before = _right(m, network, head, NO_AUGMENT, compute, reporter, stop)
        costs = {}
        for name, keys in VARIATIONS.items():
            if name == "colour" and m.images.channels is not None:
                continue  # these are the colours of RGB
            after = _right(m, network, head, replace(NO_AUGMENT, name=name, **keys), compute, reporter, stop)
            costs[name] = Cost(float(before.mean()), float(after.mean()))
    return costs


def _right(
    m: Materials, network: Network, head: Fitted, augment: Augment, compute: Compute, reporter: Reporter, stop: Stop
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the head is right for each validation image varied so, bool [N]."""
    varied = m.with_augment(augment)
    frozen = frozen_prefix(varied, network, len(network.stages) - 1, compute, reporter, stop)
    positions = np.arange(len(m.images.splits["val"]))
    rows = SplitActivations(frozen, varied).of("val", None if augment is NO_AUGMENT else 0).rows(positions)
    with torch.no_grad():
        predicted = head.module(m.task.width)(rows.float()).argmax(1).numpy()
    right: np.ndarray[Any, np.dtype[np.bool_]] = predicted == m.images.labels[m.images.splits["val"]]
    return right


def _some(images: ImageSet, split: str, count: int, seed: int) -> Indices:
    """Up to so many labelled images of a split, by chance."""
    indices = images.splits[split]
    indices = indices[images.labels[indices] >= 0]
    if len(indices) <= count:
        return indices
    return np.sort(np.random.default_rng(seed).permutation(indices)[:count])
