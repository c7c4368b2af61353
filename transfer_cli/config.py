"""The typed configuration. `parse` turns what Hydra composed into one `Experiment`, or tells all problems at once.

Values live in conf/, types and limits here. Past `parse` nobody sees OmegaConf and nobody changes the configuration.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from transfer_cli.convert import Between, MoreThan, Problems, convert, convert_one_of
from transfer_cli.errors import UserError

Mode = Literal["train", "evaluate", "predict", "cache"]
Positive = Annotated[float, MoreThan(0)]
NotNegative = Annotated[float, Between(0)]
Fraction = Annotated[float, Between(0, 1)]
Share = Annotated[float, MoreThan(0), Between(0, 1)]
Count = Annotated[int, Between(1)]


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
    val_fraction: Annotated[float, MoreThan(0), Between(0, 0.9)]
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


@dataclass(frozen=True)
class Finetune:
    """`strategy=finetune`: which part adapts."""

    name: Literal["finetune"]
    unfreeze: Literal["all", "head"]
    label_smoothing: Annotated[float, Between(0, 0.99)]


@dataclass(frozen=True)
class Grid:
    """Heads that are trained together: every combination of these; an empty list is the run's own value alone."""

    lr: tuple[Positive, ...]
    weight_decay: tuple[NotNegative, ...]
    seed: tuple[Annotated[int, Between(0, 2**31 - 1)], ...]


@dataclass(frozen=True)
class Extract:
    """`strategy=extract`: a head on the features of a backbone that never changes."""

    name: Literal["extract"]
    solver: Literal["optimizer", "lbfgs", "ridge", "ncm", "knn"]
    head: Literal["linear", "mlp"]
    hidden: Count
    """Units of the hidden layer of `head=mlp`."""
    pooling: Literal["auto", "average", "token"]
    stages: tuple[str, ...]
    """Stages whose pooled outputs are concatenated; none: the network's own features."""
    standardize: bool
    label_smoothing: Annotated[float, Between(0, 0.99)]
    neighbours: tuple[Count, ...]
    """Numbers of neighbours that `solver=knn` tries on validation."""
    cache: bool
    grid: Grid


@dataclass(frozen=True)
class Sgd:
    """`optimizer=sgd`."""

    name: Literal["sgd"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Annotated[float, Between(0, 1)]
    nesterov: bool


@dataclass(frozen=True)
class AdamW:
    """`optimizer=adamw`."""

    name: Literal["adamw"]
    lr: Positive
    weight_decay: NotNegative
    betas: tuple[Fraction, Fraction]
    eps: Positive


Optimizer = Sgd | AdamW
Strategy = Finetune | Extract


@dataclass(frozen=True)
class Scheduler:
    """The rate at each step: up from `start` during `warmup` (a fraction below 1, else steps), then down to `final`.

    `start` and `final` are multiples of `optimizer.lr`.
    """

    name: Literal["cosine", "onecycle", "linear", "constant"]
    warmup: NotNegative
    start: Fraction
    final: Fraction = 1.0


@dataclass(frozen=True)
class Augment:
    """How training images vary. A jitter of strength s scales by a factor from [1 - s, 1 + s]; 0 is off."""

    name: str
    views: Count | None
    """K views that repeat; null: a fresh view every epoch."""
    crop_scale: tuple[Share, Share] | None
    """Share of the image's area in a random crop; null: the crop of evaluation."""
    crop_ratio: tuple[Positive, Positive]
    """Width over height of a random crop."""
    flip: Fraction
    """Probability of a horizontal flip."""
    brightness: Fraction
    contrast: Fraction
    saturation: Fraction


@dataclass(frozen=True)
class Trainer:
    """The loop: how long, how much at once, on what."""

    epochs: Count
    batch_size: Count
    accumulate: Count
    clip_grad: Positive | None
    device: str
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    compile: bool
    workers: Literal["auto"] | Annotated[int, Between(0, 64)]


@dataclass(frozen=True)
class CacheCommand:
    """`mode=cache`: what to do with which entries."""

    action: Literal["list", "verify", "clear"]
    kind: Literal["all", "pixels", "activations", "teacher"]


@dataclass(frozen=True)
class Experiment:
    """One run, complete."""

    mode: Mode
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


OPTIMIZERS: dict[str, type] = {"sgd": Sgd, "adamw": AdamW}
STRATEGIES: dict[str, type] = {"finetune": Finetune, "extract": Extract}

# What may differ between a run and the command that resumes it: it changes where things are, not what is computed.
_NOT_IN_HASH = (
    *("mode", "run", "input", "output", "split", "name", "resume"),
    *("cache_dir", "cache_size", "cache", "output_dir", "quiet"),
)
_NOT_IN_HASH_OF_GROUP = {"trainer": ("workers",), "dataset": ("store",)}


def parse(values: dict[str, Any]) -> Experiment:
    """The typed experiment in a composed configuration. Raises UserError naming every wrong key."""
    problems: Problems = []
    values = {key: value for key, value in values.items() if key != "experiment"}
    variants = {
        "optimizer": convert_one_of(OPTIMIZERS, values.get("optimizer"), "optimizer", problems),
        "strategy": convert_one_of(STRATEGIES, values.get("strategy"), "strategy", problems),
    }
    experiment = convert(values, Experiment, "", problems, done=variants)
    if not problems:
        problems += combination_problems(experiment)
    if problems:
        raise UserError("\n".join(problems))
    assert isinstance(experiment, Experiment)
    return experiment


def combination_problems(experiment: Experiment) -> list[str]:
    """Settings that are each valid but make no sense together."""
    e, scale = experiment, experiment.augment.crop_scale
    checks = [
        (
            e.mode == "train" and e.run is not None,
            f"run={e.run}: mode=train makes a new run; to continue one say resume=<run directory>.",
        ),
        (e.mode in ("evaluate", "predict") and e.run is None, f"run: mode={e.mode} needs run=<run directory>."),
        (e.mode == "predict" and e.input is None, "input: mode=predict needs input=<image file or folder>."),
        (e.mode != "predict" and e.input is not None, f"input={e.input}: only mode=predict reads input."),
        (e.mode != "predict" and e.output is not None, f"output={e.output}: only mode=predict writes output."),
        (
            e.mode != "cache" and e.cache != CacheCommand("list", "all"),
            f"cache.action={e.cache.action}, cache.kind={e.cache.kind}: only mode=cache reads these.",
        ),
        (e.mode != "train" and e.resume != "never", f"resume={e.resume}: only mode=train resumes."),
        (e.resume == "auto" and e.name is None, "resume=auto: say which run to continue with name=<name>."),
        (
            e.dataset.val_fraction + e.dataset.test_fraction >= 1,
            f"dataset.val_fraction={e.dataset.val_fraction} and dataset.test_fraction={e.dataset.test_fraction}: "
            "together they leave nothing to train on; keep the sum below 1.",
        ),
        (
            e.dataset.shots is not None and e.dataset.train_fraction < 1,
            f"dataset.shots={e.dataset.shots} and dataset.train_fraction={e.dataset.train_fraction}: use one of them.",
        ),
        (
            e.dataset.labels == "none" and e.mode == "train" and isinstance(e.strategy, Finetune),
            f"dataset.labels=none: strategy={e.strategy.name} learns from labels; it needs dataset.labels=classes.",
        ),
        (
            e.dataset.labels == "none" and e.mode == "evaluate",
            "dataset.labels=none: mode=evaluate compares with labels; mode=predict needs none.",
        ),
        (
            e.dataset.labels == "none" and e.dataset.shots is not None,
            f"dataset.shots={e.dataset.shots} and dataset.labels=none: shots are counted by class; use train_fraction.",
        ),
        (
            e.dataset.labels == "none" and (e.dataset.sampler, e.dataset.class_weights) != ("uniform", "none"),
            "dataset.sampler, dataset.class_weights: with dataset.labels=none there are no classes to balance.",
        ),
        (
            e.dataset.sampler == "balanced" and e.dataset.class_weights != "none",
            f"dataset.sampler=balanced and dataset.class_weights={e.dataset.class_weights}: both at once correct "
            "twice for rare classes; use one of them.",
        ),
        (
            e.trainer.precision == "fp16" and e.trainer.device == "cpu",
            "trainer.precision=fp16: a CPU trains in fp32 or bf16; use one of these with trainer.device=cpu.",
        ),
        (
            scale is not None and scale[0] > scale[1],
            f"augment.crop_scale={list(scale or ())}: the first must not exceed the second.",
        ),
        (
            e.augment.crop_ratio[0] > e.augment.crop_ratio[1],
            f"augment.crop_ratio={list(e.augment.crop_ratio)}: the first must not exceed the second.",
        ),
        (
            isinstance(e.optimizer, Sgd) and e.optimizer.nesterov and e.optimizer.momentum == 0,
            "optimizer.nesterov=true: Nesterov momentum needs optimizer.momentum above 0.",
        ),
        (
            1 < e.scheduler.warmup != int(e.scheduler.warmup),
            f"scheduler.warmup={e.scheduler.warmup}: a fraction of the run (0 to 1) or a whole number of steps.",
        ),
        (
            e.name is not None and not is_label(e.name),
            f"name={e.name}: letters, digits, '.', '_' and '-' only, not '.' or '-' first.",
        ),
    ]
    return [message for wrong, message in checks if wrong]


def is_label(name: str) -> bool:
    """Whether a run name is safe as a single path component on every system."""
    return bool(name) and len(name) <= 120 and name[0] not in ".-" and all(c.isalnum() or c in "._-" for c in name)


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """Plain JSON/YAML values that `parse` turns back into the same experiment."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            # A key that a data set or schedule does not have stays absent, as in its YAML.
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    result = plain(asdict(experiment))
    assert isinstance(result, dict)
    return result


def config_hash(experiment: Experiment) -> str:
    """Sha256 (first 16 hex digits) of everything that determines the result of a run."""
    values = {key: value for key, value in to_dict(experiment).items() if key not in _NOT_IN_HASH}
    for group, keys in _NOT_IN_HASH_OF_GROUP.items():
        values[group] = {key: value for key, value in values[group].items() if key not in keys}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def differences(ours: Experiment, theirs: Experiment) -> list[str]:
    """Keys that determine a result and differ, as `key: ours, there theirs`."""

    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in values.items():
            result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return result

    left, right = flat(to_dict(ours)), flat(to_dict(theirs))
    ignored = {*_NOT_IN_HASH, *(f"{group}.{key}" for group, keys in _NOT_IN_HASH_OF_GROUP.items() for key in keys)}
    keys = [key for key in sorted(left.keys() | right.keys()) if key not in ignored]
    return [f"{key}={left.get(key)} (there {right.get(key)})" for key in keys if left.get(key) != right.get(key)]
