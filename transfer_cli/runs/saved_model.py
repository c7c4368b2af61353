"""A trained model on disk: `model.safetensors` and `model.json`, all that using it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from transfer_cli.cache.place import cache_folder
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.data.batches import OrderedBatches, Samples
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.engine.devices import device as devices
from transfer_cli.engine.devices.device import Compute, Normalize, PixelsToDevice, ToDevice
from transfer_cli.engine.evaluation import BATCH_SIZE
from transfer_cli.errors import UserError
from transfer_cli.files import parsed_json, write_json
from transfer_cli.models import backbones, weights
from transfer_cli.models.heads import OWN_HEAD, HeadSpec, attach
from transfer_cli.models.input_layer import RGB
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import SeenWeights
from transfer_cli.models.staging import SeenCuts
from transfer_cli.models.tensors import replace_tensors
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.machine import known_folder
from transfer_cli.runs.materials import Materials, worker_count

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
_SHOWN = 40


def save_trained(
    directory: Path, materials: Materials, tensors: Mapping[str, Tensor], head: HeadSpec, precision: str
) -> None:
    """Write weights (the plain architecture's, with `head` as its classifier) and description, each atomically."""
    replace_tensors(directory / WEIGHTS, tensors)
    model = materials.pretrained.model
    description = {
        "model": {"name": model.name, "source": model.source},
        "classes": list(materials.images.classes),
        "preprocessing": materials.preprocessing.to_dict(),
        "precision": precision,
        "head": head.to_dict(),
    }
    channels = materials.images.channels
    write_json(directory / DESCRIPTION, description | ({} if channels is None else {"channels": channels}))


@dataclass(frozen=True)
class Description:
    """What `model.json` says."""

    name: str
    source: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    precision: str
    head: HeadSpec
    channels: int | None = None
    """As `dataset.channels` of its training: None for RGB."""


@dataclass(frozen=True)
class Trained:
    """A trained network, ready to predict."""

    network: Network
    about: Description
    compute: Compute

    @property
    def to_device(self) -> ToDevice:
        """Batches of pixels to network inputs on the device."""
        preprocessing = self.about.preprocessing
        return PixelsToDevice(Normalize(preprocessing.mean, preprocessing.std, self.compute.device))

    def batches(self, decoded: DecodedSet, split: str, e: Experiment) -> OrderedBatches:
        """The images of a split in their order; `e` says how many workers make the batches."""
        samples = Samples(decoded.images, decoded.store, self.about.preprocessing, e.augment, e.seed)
        size, workers = BATCH_SIZE[self.compute.device.type], worker_count(e, decoded.store)
        return OrderedBatches(samples, decoded.images.splits[split], batch_size=size, workers=workers)


def describe(run: Path, key: str = "run") -> Description:
    """The description in a run directory. Raises UserError naming `key` for a damaged one."""
    try:
        description = parsed_json((run / DESCRIPTION).read_text(encoding="utf-8"))
        preprocessing, channels = Preprocessing.from_dict(description["preprocessing"]), description.get("channels")
        if preprocessing.channels != (RGB if channels is None else channels):
            raise ValueError(f"channels {channels!r} of preprocessing for {preprocessing.channels}")
        if description["precision"] not in devices.DTYPES:
            raise ValueError(f"precision {str(description['precision'])[:_SHOWN]!r}")
        return Description(
            str(description["model"]["name"]),
            str(description["model"]["source"]),
            weights.classes_in(description),
            preprocessing,
            description["precision"],
            HeadSpec.from_dict(description["head"]),
            channels,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{key}={run}: {DESCRIPTION} is damaged or of another program ({error}).") from error


def build_trained(run: Path, about: Description, image_size: int, seen: SeenCuts) -> Network:
    """The network of a run directory for images of `image_size` pixels, on the host, in eval mode.

    Raises UserError where its weights are not those of `about`, its head among them.
    """
    channels, classes = about.preprocessing.channels, len(about.classes)
    network = backbones.build(about.name, about.source, classes, image_size=image_size, seen=seen, channels=channels)
    if about.head.kind != OWN_HEAD:
        network = attach(network, about.head, len(about.classes))
    loaded = weights.load(network, weights.resolve(about.name, about.source, str(run)), image_size)
    if not loaded.head_kept:
        # Another head than the trained one would say anything of any image.
        raise UserError(
            f"model.weights={run}: {WEIGHTS} has another head than {DESCRIPTION} says ({classes:,} classes, "
            f"{about.head.kind}): one of the two is damaged, or of another run."
        )
    network.eval()
    return network


_OF_TRAINING = (
    *("model", "image_size", "image_fit", "crop_fraction", "strategy", "optimizer", "scheduler", "augment"),
    *("experiment", "name", "trainer.epochs", "trainer.steps", "trainer.batch_size", "trainer.accumulate"),
    *("trainer.clip_grad", "trainer.patience", "trainer.metric", "trainer.compile", "trainer.sharding", "logger"),
)


def warn_of_unread(overrides: Overrides, reporter: Reporter, *more: str, but: str = "") -> None:
    """Warn of words that say how a model is trained, and of `more` groups and keys that this mode does not read.

    It reads the key `but`.
    """
    read = overrides.of(but) if but else []
    for word in overrides.of(*_OF_TRAINING, *more):
        if word in read:
            continue
        reporter.warn(f"{word}: has no effect; the model is used as its run left it")


def load_trained(run: Path, experiment: Experiment) -> Trained:
    """The trained model of a run directory, on the device `experiment` asks for, at the precision of its training.

    Raises UserError for a damaged description, or weights that do not fit it.
    """
    device = devices.select_device(experiment.trainer.device)
    devices.prepare(device, experiment.seed, deterministic=experiment.trainer.deterministic)
    about = describe(run)
    precision = about.precision if experiment.trainer.precision == "auto" else experiment.trainer.precision
    if precision not in devices.DTYPES or (precision in ("fp16", "tf32") and device.type == "cpu"):
        precision = "fp32"
    cuts = SeenWeights(known_folder(cache_folder(experiment.cache_dir))).cuts
    network = build_trained(run, about, about.preprocessing.crop_pixels, cuts)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Trained(network, about, Compute(device, precision))
