"""The typed configuration. `parse` turns what Hydra composed into one `Experiment`, or tells all problems at once.

Values live in conf/, types and limits here. Past `parse` nobody sees OmegaConf and nobody changes the configuration.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from transfer_cli.config_distill import Distill, distill_problems
from transfer_cli.config_finetune import Finetune, finetune_problems
from transfer_cli.config_optimizers import OPTIMIZERS, SCHEDULERS, Muon, Optimizer, Scheduler, Sgd, step_problems
from transfer_cli.convert import BEYOND_USE, Between, MoreThan, Problems, convert, convert_one_of
from transfer_cli.errors import UserError
from transfer_cli.limits import Count, Fraction, NotNegative, Positive, Share

Mode = Literal["train", "evaluate", "predict", "rank", "find_lr", "cache"]
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
    groups: Count
    """Groups of like images (k-means) where there are no labels."""
    cache: bool
    grid: Grid


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
    rank: RankCommand
    find_lr: FindLr


STRATEGIES: dict[str, type] = {"finetune": Finetune, "extract": Extract, "distill": Distill}

# What may differ between a run and the command that resumes it: it changes where things are, not what is computed.
_NOT_IN_HASH = (
    *("mode", "run", "input", "output", "split", "name", "resume"),
    *("cache_dir", "cache_size", "cache", "rank", "find_lr", "output_dir", "quiet"),
)
_NOT_IN_HASH_OF_GROUP = {"trainer": ("workers",), "dataset": ("store",)}


def parse(values: dict[str, Any]) -> Experiment:
    """The typed experiment in a composed configuration. Raises UserError naming every wrong key."""
    problems: Problems = []
    values = {key: value for key, value in values.items() if key != "experiment"}
    variants = {
        "optimizer": convert_one_of(OPTIMIZERS, values.get("optimizer"), "optimizer", problems),
        "scheduler": convert_one_of(SCHEDULERS, values.get("scheduler"), "scheduler", problems),
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
    e = experiment
    checks = [
        (
            e.mode == "train" and e.run is not None,
            f"run={e.run}: mode=train makes a new run; to continue one say resume=<run directory>.",
        ),
        (e.mode in ("evaluate", "predict") and e.run is None, f"run: mode={e.mode} needs run=<run directory>."),
        (
            e.find_lr.lowest >= e.find_lr.highest,
            f"find_lr.lowest={e.find_lr.lowest}: must be below find_lr.highest={e.find_lr.highest}.",
        ),
        (
            e.mode == "find_lr" and isinstance(e.strategy, Extract),
            "mode=find_lr: strategy=extract tries rates itself; see strategy.grid.lr.",
        ),
        (e.mode == "predict" and e.input is None, "input: mode=predict needs input=<image file or folder>."),
        (
            e.mode == "rank" and not e.rank.models,
            "rank.models: mode=rank needs the backbones to rank, as in rank.models=[efficientnet_lite0,resnet18].",
        ),
        (
            e.mode == "rank" and e.dataset.labels == "none",
            "dataset.labels=none: mode=rank scores backbones by how well they tell classes apart; it needs labels.",
        ),
        (e.mode != "predict" and e.input is not None, f"input={e.input}: only mode=predict reads input."),
        (e.mode != "predict" and e.output is not None, f"output={e.output}: only mode=predict writes output."),
        (
            e.mode == "train" and e.dataset.store == "device" and e.trainer.device in ("cpu", "mps"),
            f"dataset.store=device: needs a CUDA device, found trainer.device={e.trainer.device}; ram comes next.",
        ),
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
            e.dataset.class_weights != "none" and isinstance(e.strategy, Extract),
            f"dataset.class_weights={e.dataset.class_weights}: strategy=extract does not weigh classes; use "
            "strategy=finetune strategy.unfreeze=head, or dataset.sampler=balanced.",
        ),
        (
            e.dataset.sampler == "balanced" and isinstance(e.strategy, Extract) and e.strategy.solver != "optimizer",
            "dataset.sampler=balanced: only strategy.solver=optimizer draws samples; the others see each once.",
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
        *_augment_problems(e.augment),
        (
            isinstance(e.optimizer, Sgd | Muon) and e.optimizer.nesterov and e.optimizer.momentum == 0,
            "optimizer.nesterov=true: Nesterov momentum needs optimizer.momentum above 0.",
        ),
        *_extract_problems(e),
        *_finetune_problems(e),
        *_distill_problems(e),
        (
            e.name is not None and not is_label(e.name),
            f"name={e.name}: up to 120 letters, digits, '.', '_' and '-', not '.' or '-' first.",
        ),
    ]
    return [message for wrong, message in checks if wrong] + step_problems(e.scheduler)


def _augment_problems(augment: Augment) -> list[tuple[bool, str]]:
    """Ranges the wrong way round, and two policies at once: (whether it is so, what to say)."""
    ranges = {key: getattr(augment, key) or (0, 0) for key in ("crop_scale", "crop_ratio", "erase_scale")}
    checks = [
        (low > high, f"augment.{key}={[low, high]}: the first must not exceed the second.")
        for key, (low, high) in ranges.items()
    ]
    both = augment.randaugment is not None and augment.trivialaugment
    return [*checks, (both, "augment.randaugment and augment.trivialaugment: use one of them.")]


def _extract_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What a head on frozen features cannot do."""
    config = e.strategy
    if not isinstance(config, Extract):
        return []
    by_optimizer, grid = config.solver == "optimizer", config.grid
    return [
        (
            by_optimizer and e.optimizer.name not in ("sgd", "adamw"),
            f"optimizer={e.optimizer.name}: strategy=extract trains heads with sgd or adamw.",
        ),
        (
            by_optimizer and e.scheduler.name == "plateau",
            "scheduler=plateau: many heads share one schedule; strategy=extract takes any other.",
        ),
        (
            not by_optimizer and bool(grid.lr or grid.weight_decay or grid.seed),
            f"strategy.grid: strategy.solver={config.solver} has no rates to try; it is for solver=optimizer.",
        ),
        (
            not by_optimizer and config.head != "linear",
            f"strategy.head={config.head}: solver={config.solver} fits a linear head; mlp needs solver=optimizer.",
        ),
        (
            e.trainer.clip_grad is not None,
            f"trainer.clip_grad={e.trainer.clip_grad}: strategy=extract does not clip; leave it out.",
        ),
        (e.trainer.accumulate > 1, "trainer.accumulate: strategy=extract needs none; set trainer.batch_size."),
        (
            e.trainer.steps is not None,
            f"trainer.steps={e.trainer.steps}: strategy=extract counts in epochs; set trainer.epochs.",
        ),
        (
            e.trainer.patience is not None,
            f"trainer.patience={e.trainer.patience}: strategy=extract keeps the best epoch of all; leave it out.",
        ),
        (
            e.augment.mixup > 0 or e.augment.cutmix > 0,
            "augment.mixup, augment.cutmix: strategy=extract fits heads to stored features of single images; "
            "mixing needs strategy=finetune.",
        ),
    ]


def _finetune_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What finetuning cannot do."""
    config, data = e.strategy, e.dataset
    if not isinstance(config, Finetune):
        return []
    balanced = data.sampler == "balanced" or data.class_weights != "none"
    return [
        *finetune_problems(config),
        (
            config.logit_adjustment > 0 and balanced,
            f"strategy.logit_adjustment={config.logit_adjustment}: dataset.sampler={data.sampler} and "
            f"dataset.class_weights={data.class_weights} correct for rare classes already; use one of them.",
        ),
    ]


def _distill_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What cannot be taught."""
    config = e.strategy
    if not isinstance(config, Distill):
        return []
    return [
        *distill_problems(config, labelled=e.dataset.labels == "classes", epochs=e.trainer.epochs),
        (
            e.trainer.steps == "bit",
            "trainer.steps=bit: the BiT rule mixes images, and a teacher answers for images as they are; say a number.",
        ),
        (
            e.augment.mixup > 0 or e.augment.cutmix > 0,
            "augment.mixup, augment.cutmix: a teacher answers for images as they are; set both to 0.",
        ),
        (
            e.trainer.steps == "bit",
            "trainer.steps=bit: the BiT rule may mix images; a teacher answers for images as they are. Say a number.",
        ),
        (
            e.dataset.class_weights != "none",
            f"dataset.class_weights={e.dataset.class_weights}: strategy=distill does not weigh classes; use none.",
        ),
    ]


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
