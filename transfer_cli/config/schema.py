"""The typed configuration. `parse` turns what Hydra composed into one `Experiment`, or raises all problems at once.

Values and the description of each key are in conf/, types and limits here. Past `parse` nobody sees OmegaConf and
nobody changes the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from transfer_cli.config.auto import chosen
from transfer_cli.config.commands import (
    AuditCommand,
    CacheCommand,
    CompareCommand,
    EvaluateCommand,
    ExplainCommand,
    ExportCommand,
    FetchCommand,
    FindLr,
    PredictCommand,
    PushCommand,
    RankCommand,
    ReportCommand,
    ScriptCommand,
    Sweep,
)
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
from transfer_cli.config.modes import FORMATS, MODES
from transfer_cli.config.optimizers import Optimizer, Scheduler

Metric = Literal["accuracy", "macro_f1", "balanced_accuracy", "auroc", "loss", "top5_accuracy"]
Alpha = Annotated[float, Between(0, 8)]
# Of a picture. Less than a pixel of it, blown up to the size of the network, would take gigabytes.
Area = Annotated[float, Between(1e-4, 1)]
Ratio = Annotated[float, Between(0.01, 100)]


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
    source_factor: Annotated[float, Between(1, 8)]
    on_bad: Literal["error", "skip"]
    sampler: Literal["uniform", "balanced"]
    class_weights: Literal["none", "inverse", "effective"]
    unlabelled: str | None = None
    max_pixels: Count | None = None
    channels: Annotated[int, Between(1, 64)] | None = None
    group: str | None = None
    folds: Annotated[int, Between(2, 1000)] | None = None
    fold: Annotated[int, Between(0)] | None = None
    split_seed: Annotated[int, Between(0)] | None = None
    labels: Literal["classes", "none"] = "classes"
    image_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    weight_column: str | None = None
    hub: str | None = None
    subset: str | None = None
    download: bool = False
    num_classes: Annotated[int, Between(2)] | None = None
    samples: Count | None = None

    def drawn_by(self, seed: int) -> int:
        """The seed that splits and shots are drawn by in a run of this seed."""
        return seed if self.split_seed is None else self.split_seed


Strategy = Finetune | Extract | Distill


@dataclass(frozen=True)
class Augment:
    """How training images vary; off where a recipe says nothing. A jitter of strength s scales by [1 - s, 1 + s]."""

    name: str
    views: Count | None = None
    crop_scale: tuple[Area, Area] | None = None
    crop_ratio: tuple[Ratio, Ratio] = (1.0, 1.0)
    flip: Fraction = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Between(0, 0.5)] = 0.0
    grayscale: Fraction = 0.0
    vertical_flip: Fraction = 0.0
    rotate: Annotated[float, Between(0, 180)] = 0.0
    shear: Annotated[float, Between(0, 45)] = 0.0
    randaugment: tuple[Annotated[int, Between(1, 10)], Annotated[int, Between(0, 30)]] | None = None
    trivialaugment: bool = False
    erase: Fraction = 0.0
    erase_scale: tuple[Share, Share] = (0.02, 0.33)
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0


@dataclass(frozen=True)
class Trainer:
    """The loop: how long, how much at once, on what."""

    epochs: Literal["auto"] | Annotated[int, Between(0, BEYOND_USE)]
    steps: Count | Literal["bit"] | None
    batch_size: Literal["auto"] | Count
    accumulate: Count
    clip_grad: Positive | None
    patience: Literal["auto"] | Count | None
    device: str
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"]
    compile: bool
    workers: Literal["auto"] | Annotated[int, Between(0, 64)]
    metric: Metric = "accuracy"
    """Runs from before it was an option chose by accuracy."""
    evaluate_every: Literal["auto"] | Count = 1
    budget: str | None = None
    checkpoint_every: Count | str = "auto"
    time_limit: str | None = None
    keep: Literal["best", "last", "none"] | Annotated[int, Between(1, 1000)] = 2
    devices: Literal["auto"] | Annotated[int, Between(1, 1024)] = 1
    deterministic: bool = False
    profile: bool = False
    sync_batch_norm: bool = False
    sharding: Literal["none", "full"] = "none"

    @property
    def known_devices(self) -> int:
        """How many were asked for; 1 where the machine that it runs on decides."""
        return self.devices if isinstance(self.devices, int) else 1

    @property
    def step_images(self) -> int:
        """Images of an optimizer step, once `batch_size` is a number."""
        return chosen(self.batch_size) * self.accumulate


@dataclass(frozen=True)
class Experiment:
    """One run, complete."""

    mode: Annotated[str, OneOf(tuple(MODES))]
    run: str | tuple[str, ...] | None
    input: str | None
    output: str | None
    split: Literal["train", "val", "test"]
    image_size: Literal["auto"] | Annotated[int, Between(8, 4096)]
    seed: Annotated[int, Between(0, 2**31 - 1)]
    name: str | None
    resume: str
    cache_dir: str
    cache_size: Literal["auto"] | Positive
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
    image_fit: Literal["auto", "crop", "pad", "squash"] = "crop"
    """Runs from before it was an option cropped."""
    crop_fraction: Literal["auto"] | Annotated[float, Between(0.25, 2.0)] = "auto"
    tune: Literal["off", "quick", "full"] = "off"
    compare: CompareCommand = field(default_factory=CompareCommand)
    fetch: FetchCommand = field(default_factory=FetchCommand)
    predict: PredictCommand = field(default_factory=PredictCommand)
    export: ExportCommand = field(default_factory=ExportCommand)
    report: ReportCommand = field(default_factory=ReportCommand)
    format: Annotated[str, OneOf(("auto", *FORMATS))] = "auto"
    sweep: Sweep = field(default_factory=Sweep)
    script: ScriptCommand = field(default_factory=ScriptCommand)
    audit: AuditCommand = field(default_factory=AuditCommand)
    evaluate: EvaluateCommand = field(default_factory=EvaluateCommand)
    explain: ExplainCommand = field(default_factory=ExplainCommand)
    push: PushCommand = field(default_factory=PushCommand)
    logger: str | tuple[str, ...] = ()
    """Names of config/loggers.py, or of installed packages."""

    @property
    def loggers(self) -> tuple[str, ...]:
        """The names of the loggers of a run, each once."""
        return (self.logger,) if isinstance(self.logger, str) else tuple(dict.fromkeys(self.logger))

    @property
    def runs(self) -> tuple[str, ...]:
        """The run directories that `run` names."""
        return () if self.run is None else (self.run,) if isinstance(self.run, str) else self.run
