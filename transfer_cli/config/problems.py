"""Settings that are each valid but make no sense together: for each, whether it is so and what to say."""

from __future__ import annotations

from transfer_cli.config.distill import Distill, distill_problems
from transfer_cli.config.extract import Extract
from transfer_cli.config.finetune import Finetune, finetune_problems
from transfer_cli.config.modes import MODES
from transfer_cli.config.optimizers import Muon, Sgd, step_problems
from transfer_cli.config.schema import Augment, Experiment

_EXPECTED = {"run": "run directory", "input": "image file or folder", "output": "CSV file"}


def combination_problems(experiment: Experiment) -> list[str]:
    """Settings that are each valid but make no sense together."""
    e = experiment
    checks = [
        (
            e.mode == "train" and e.run is not None,
            f"run={e.run}: mode=train makes a new run; to continue one say resume=<run directory>.",
        ),
        *_mode_problems(e),
        (
            e.find_lr.lowest >= e.find_lr.highest,
            f"find_lr.lowest={e.find_lr.lowest}: must be below find_lr.highest={e.find_lr.highest}.",
        ),
        (
            e.mode == "find_lr" and isinstance(e.strategy, Extract),
            "mode=find_lr: strategy=extract tries rates itself; see strategy.grid.lr.",
        ),
        (
            e.mode == "rank" and not e.rank.models,
            "rank.models: mode=rank needs the backbones to rank, as in rank.models=[efficientnet_lite0,resnet18].",
        ),
        (
            e.mode == "rank" and e.dataset.labels == "none",
            "dataset.labels=none: mode=rank scores backbones by how well they tell classes apart; it needs labels.",
        ),
        (
            e.mode == "train" and e.dataset.store == "device" and e.trainer.device in ("cpu", "mps"),
            f"dataset.store=device: needs a CUDA device, found trainer.device={e.trainer.device}; ram comes next.",
        ),
        (
            e.mode != "cache" and (e.cache.action, e.cache.kind) != ("list", "all"),
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
            e.dataset.unlabelled is not None
            and not (isinstance(e.strategy, Distill) and e.mode in ("train", "find_lr")),
            f"dataset.unlabelled={e.dataset.unlabelled}: only strategy=distill learns from images without labels.",
        ),
        (
            e.dataset.unlabelled is not None and e.dataset.labels == "none",
            "dataset.unlabelled: with dataset.labels=none no image has a label; put them all below dataset.path.",
        ),
        (
            e.dataset.unlabelled is not None and e.dataset.sampler != "uniform",
            f"dataset.sampler={e.dataset.sampler}: images of dataset.unlabelled have no class to balance.",
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


def _mode_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What a mode needs and was not told, and what it was told and does not read."""
    mode, values = MODES[e.mode], {"run": e.run, "input": e.input, "output": e.output}
    checks = []
    for key, value in values.items():
        readers = [name for name, other in MODES.items() if key in other.needs + other.takes]
        only = f"{key}={value}: only mode={' and mode='.join(readers)} read{'s' * (len(readers) == 1)} {key}."
        checks += [
            (key in mode.needs and value is None, f"{key}: mode={e.mode} needs {key}=<{_EXPECTED[key]}>."),
            (e.mode not in readers and value is not None and (e.mode, key) != ("train", "run"), only),
        ]
    return checks


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
            e.dataset.class_weights != "none",
            f"dataset.class_weights={e.dataset.class_weights}: strategy=distill does not weigh classes; use none.",
        ),
    ]


def is_label(name: str) -> bool:
    """Whether a run name is safe as a single path component on every system."""
    return bool(name) and len(name) <= 120 and name[0] not in ".-" and all(c.isalnum() or c in "._-" for c in name)
