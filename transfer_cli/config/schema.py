"""The typed configuration. `parse` turns what Hydra composed into one `Experiment`, or tells all problems at once.

Values live in conf/, types and limits here. Past `parse` nobody sees OmegaConf and nobody changes the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from transfer_cli.config.convert import (
    BEYOND_USE,
    Between,
    Count,
    Fraction,
    MoreThan,
    OneOf,
    Positive,
    Share,
)
from transfer_cli.config.distill import Distill
from transfer_cli.config.extract import Extract
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.modes import MODES
from transfer_cli.config.optimizers import Optimizer, Scheduler

Metric = Literal["accuracy", "macro_f1", "balanced_accuracy", "auroc", "loss", "top5_accuracy"]
Alpha = Annotated[float, Between(0, 8)]


@dataclass(frozen=True)
class Model:
    """The backbone: a name torchvision or timm knows, and where its weights come from."""

    name: str
    source: Literal["auto", "torchvision", "timm"]
    weights: str


@dataclass(frozen=True)
class Dataset:
    """Where images come from, how they are split, kept and weighed. What has a default belongs to some sets alone."""

    name: str
    path: str | None
    val_fraction: Annotated[float, MoreThan(0, 0.9)]
    test_fraction: Annotated[float, Between(0, 0.9)]
    train_fraction: Share
    shots: Count | None
    store: Literal["auto", "device", "ram", "disk", "stream"]
    """Where decoded pixels are kept; stream decodes every epoch."""
    source_factor: Annotated[float, Between(1, 8)]
    """Short side of a training image before cropping, as a multiple of the training size; never enlarged."""
    on_bad: Literal["error", "skip"]
    """What to do about images that cannot be decoded."""
    sampler: Literal["uniform", "balanced"]
    """Whether an epoch shows each image once, or each class equally often."""
    class_weights: Literal["none", "inverse", "effective"]
    """How the loss weighs classes of different size."""
    unlabelled: str | None = None
    """A folder of images without labels that join the training images of strategy=distill."""
    labels: Literal["classes", "none"] = "classes"
    """none: images without classes, for features and distillation."""
    image_column: str | None = None
    """This column and the next three: null looks where tables and records usually have them."""
    label_column: str | None = None
    split_column: str | None = None
    weight_column: str | None = None
    hub: str | None = None
    """Name on the Hugging Face hub, and the next its configuration."""
    subset: str | None = None
    download: bool = False
    num_classes: Annotated[int, Between(2)] | None = None
    samples: Count | None = None


Strategy = Finetune | Extract | Distill


@dataclass(frozen=True)
class Augment:
    """How training images vary; off where a recipe says nothing. A jitter of strength s scales by [1 - s, 1 + s]."""

    name: str
    views: Count | None = None
    """K views that repeat; null: a fresh view every epoch."""
    crop_scale: tuple[Share, Share] | None = None
    """Share of the image's area in a random crop; null: the crop of evaluation."""
    crop_ratio: tuple[Positive, Positive] = (1.0, 1.0)
    """Width over height of a random crop."""
    flip: Fraction = 0.0
    """Probability of a horizontal flip."""
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Between(0, 0.5)] = 0.0
    """Largest turn of the hue, as a share of the colour circle."""
    grayscale: Fraction = 0.0
    """Probability of losing all colour."""
    vertical_flip: Fraction = 0.0
    rotate: Annotated[float, Between(0, 180)] = 0.0
    """Degrees to either side."""
    shear: Annotated[float, Between(0, 45)] = 0.0
    """Degrees to either side, horizontally."""
    randaugment: tuple[Annotated[int, Between(1, 10)], Annotated[int, Between(0, 30)]] | None = None
    """Operations an image and their magnitude, or null."""
    trivialaugment: bool = False
    erase: Fraction = 0.0
    """Probability of a rectangle of noise."""
    erase_scale: tuple[Share, Share] = (0.02, 0.33)
    """The rectangle's share of the area."""
    mixup: Alpha = 0.0
    """Alpha of the Beta distribution that images and labels are mixed with; 0: off."""
    cutmix: Alpha = 0.0


@dataclass(frozen=True)
class Trainer:
    """The loop: how long, how much at once, on what."""

    epochs: Annotated[int, Between(0, BEYOND_USE)]
    """0: a run directory to look at, with a sheet of augmented samples, and nothing trained."""
    steps: Count | Literal["bit"] | None
    """In place of epochs: about so many steps, in whole epochs; bit: by the BiT rule, which chooses mixup as well."""
    batch_size: Count
    accumulate: Count
    clip_grad: Positive | None
    patience: Count | None
    """Epochs without a better validation accuracy after which training ends; null: all epochs."""
    device: str
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    compile: bool
    workers: Literal["auto"] | Annotated[int, Between(0, 64)]
    metric: Metric = "accuracy"
    """The validation score that chooses the best epoch. A run made before it was an option chose by accuracy."""


@dataclass(frozen=True)
class CacheCommand:
    """`mode=cache`: what to do with which entries."""

    action: Literal["list", "verify", "clear"]
    kind: Literal["all", "pixels", "activations", "backbones"]


@dataclass(frozen=True)
class RankCommand:
    """`mode=rank`: which backbones."""

    models: tuple[str, ...]


@dataclass(frozen=True)
class FindLr:
    """`mode=find_lr`: how many steps, at rates from the lowest to the highest."""

    lowest: Positive
    highest: Positive
    steps: Annotated[int, Between(2)]


@dataclass(frozen=True)
class Experiment:
    """One run, complete."""

    mode: Annotated[str, OneOf(tuple(MODES))]
    run: str | None
    input: str | None
    output: str | None
    split: Literal["train", "val", "test"]
    image_size: Literal["auto"] | Annotated[int, Between(8, 4096)]
    seed: Annotated[int, Between(0, 2**31 - 1)]
    name: str | None
    resume: str
    cache_dir: str
    cache_size: Literal["auto"] | Positive
    """GiB that the cache may take."""
    output_dir: str
    quiet: bool
    model: Model
    dataset: Dataset
    strategy: Strategy
    optimizer: Optimizer
    scheduler: Scheduler
    augment: Augment
    trainer: Trainer
    cache: CacheCommand
    rank: RankCommand
    find_lr: FindLr
