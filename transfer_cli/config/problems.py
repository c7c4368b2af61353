"""Settings that are each valid but make no sense together.

Each function returns pairs: whether it is so, and the message.
"""

from __future__ import annotations

from transfer_cli.config.auto import AUTO
from transfer_cli.config.dataset_problems import channel_problems, dataset_problems
from transfer_cli.config.distill import Distill, distill_problems
from transfer_cli.config.durations import EXPECTED, EXPECTED_INTERVAL, interval_of, seconds_of
from transfer_cli.config.extract import Extract
from transfer_cli.config.finetune import Finetune, finetune_problems
from transfer_cli.config.mode_problems import mode_key_problems, mode_problems, said
from transfer_cli.config.objectives import objective_problems
from transfer_cli.config.optimizers import Adafactor, Muon, Sgd, step_problems
from transfer_cli.config.schema import Augment, Experiment


def combination_problems(experiment: Experiment) -> list[str]:
    """Settings that are each valid but make no sense together."""
    e = experiment
    checks = [
        *mode_problems(e),
        *mode_key_problems(e),
        *objective_problems(e),
        *_run_problems(e),
        *_checkpoint_problems(e),
        *dataset_problems(e),
        *_augment_problems(e.augment),
        *channel_problems(e),
        *_training_problems(e),
        *_extract_problems(e),
        *_finetune_problems(e),
        *_distill_problems(e),
    ]
    return [message for wrong, message in checks if wrong] + step_problems(e.scheduler)


def _checkpoint_problems(e: Experiment) -> list[tuple[bool, str]]:
    """How often states are saved, and when the command ends whatever happens."""
    every, limit = e.trainer.checkpoint_every, e.trainer.time_limit
    return [
        (interval_of(every) is None, f"trainer.checkpoint_every={every}: {EXPECTED_INTERVAL}."),
        (limit is not None and seconds_of(limit) is None, f"trainer.time_limit={limit}: {EXPECTED}."),
    ]


def _run_problems(e: Experiment) -> list[tuple[bool, str]]:
    """The name of a run, and which run is continued."""
    return [
        (
            e.mode == "train" and e.run is not None,
            f"{said('run', e.run)}: mode=train makes a new run; to continue one say resume=<run directory>.",
        ),
        (e.resume == "auto" and e.name is None, "resume=auto: say which run to continue with name=<name>."),
        (
            e.name is not None and not is_label(e.name),
            f"name={e.name}: up to 120 letters, digits, '.', '_' and '-', not '.' or '-' first.",
        ),
    ]


def _augment_problems(augment: Augment) -> list[tuple[bool, str]]:
    """Ranges the wrong way round, and two policies at once: (whether it is so, what to say)."""
    ranges = {key: getattr(augment, key) or (0, 0) for key in ("crop_scale", "crop_ratio", "erase_scale")}
    checks = [
        (low > high, f"augment.{key}={[low, high]}: the first must not exceed the second.")
        for key, (low, high) in ranges.items()
    ]
    both = augment.randaugment is not None and augment.trivialaugment
    return [*checks, (both, "augment.randaugment and augment.trivialaugment: use one of them.")]


def _training_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Precision and optimizer."""
    return [
        (
            e.trainer.precision in ("fp16", "tf32") and e.trainer.device == "cpu",
            f"trainer.precision={e.trainer.precision}: a CPU trains in fp32 or bf16; use one of these with "
            "trainer.device=cpu.",
        ),
        (
            e.trainer.sync_batch_norm and e.trainer.compile,
            "trainer.sync_batch_norm=true: nothing that normalises so is compiled; leave trainer.compile out.",
        ),
        (
            e.trainer.sharding == "full" and e.trainer.compile,
            "trainer.sharding=full: weights that come together part by part are not compiled; leave trainer.compile "
            "out.",
        ),
        (
            e.trainer.sharding == "full" and isinstance(e.optimizer, Adafactor | Muon),
            f"trainer.sharding=full: optimizer={e.optimizer.name} works on whole matrices, of which each device has a "
            "part; use another, such as adamw.",
        ),
        (
            isinstance(e.optimizer, Sgd | Muon) and e.optimizer.nesterov and e.optimizer.momentum == 0,
            "optimizer.nesterov=true: Nesterov momentum needs optimizer.momentum above 0.",
        ),
    ]


def _extract_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What a head on frozen features cannot do."""
    config = e.strategy
    if not isinstance(config, Extract):
        return []
    grid = config.grid
    trains = config.head == "mlp" or bool(grid.lr or grid.weight_decay or grid.seed)
    by_optimizer = config.solver == "optimizer" or (config.solver == "auto" and trains)
    closed = config.solver not in ("optimizer", "auto")
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
            closed and bool(grid.lr or grid.weight_decay or grid.seed),
            f"strategy.grid: strategy.solver={config.solver} has no rates to try; it is for solver=optimizer.",
        ),
        (
            closed and config.head != "linear",
            f"strategy.head={config.head}: solver={config.solver} fits a linear head; mlp needs solver=optimizer.",
        ),
        (
            e.trainer.clip_grad is not None,
            f"trainer.clip_grad={e.trainer.clip_grad}: strategy=extract does not clip; leave it out.",
        ),
        (e.trainer.profile, "trainer.profile=true: strategy=extract takes no steps through a network; leave it out."),
        (
            e.trainer.sync_batch_norm,
            "trainer.sync_batch_norm=true: strategy=extract trains no network; leave it out.",
        ),
        (
            e.trainer.sharding == "full",
            "trainer.sharding=full: strategy=extract trains no network, so there is nothing to share out; leave it "
            "out.",
        ),
        (e.trainer.accumulate > 1, "trainer.accumulate: strategy=extract needs none; set trainer.batch_size."),
        (
            e.trainer.steps is not None,
            f"trainer.steps={e.trainer.steps}: strategy=extract counts in epochs; set trainer.epochs.",
        ),
        (
            e.trainer.patience not in (None, AUTO),
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
