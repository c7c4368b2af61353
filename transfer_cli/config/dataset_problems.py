"""Settings of the data set that make no sense together, or with what learns from it.

Each function returns pairs: whether it is so, and the message.
"""

from __future__ import annotations

import re

from transfer_cli.config.distill import Distill
from transfer_cli.config.extract import Extract
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment


def dataset_problems(e: Experiment) -> list[tuple[bool, str]]:
    """How images are split, kept, labelled and weighed."""
    return [
        *_split_problems(e),
        *_fold_problems(e),
        *_label_problems(e),
        *_unlabelled_problems(e),
        *_balance_problems(e),
    ]


def _split_problems(e: Experiment) -> list[tuple[bool, str]]:
    """How the images are split and kept."""
    return [
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
            e.mode == "train" and e.dataset.store == "device" and e.trainer.device in ("cpu", "mps"),
            f"dataset.store=device: needs a CUDA device, found trainer.device={e.trainer.device}; ram comes next.",
        ),
    ]


def _fold_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Cross-validation, and images that belong together."""
    folds, fold, group = e.dataset.folds, e.dataset.fold, e.dataset.group
    return [
        (folds is None and fold is not None, f"dataset.fold={fold}: of how many? Add dataset.folds=<number>."),
        (
            folds is not None and fold is None,
            f"dataset.folds={folds}: which of them? Add dataset.fold=<0 to {(folds or 1) - 1}>, or with -m "
            f"'dataset.fold=range(0,{folds})'.",
        ),
        (
            folds is not None and fold is not None and fold >= folds,
            f"dataset.fold={fold}: of dataset.folds={folds} the last is {(folds or 1) - 1}.",
        ),
        (
            (folds, group, e.dataset.split_seed) != (None, None, None) and e.dataset.labels == "none",
            "dataset.folds, dataset.group, dataset.split_seed: with dataset.labels=none nothing is split.",
        ),
        (
            # A table may have a column of any name.
            group is not None and e.dataset.name != "manifest" and not _is_pattern(group),
            f"dataset.group={group}: is no regular expression.",
        ),
    ]


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _label_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What needs labels."""
    return [
        (
            e.mode == "rank" and e.dataset.labels == "none",
            "dataset.labels=none: mode=rank scores backbones by how well they tell classes apart; it needs labels.",
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
    ]


def _unlabelled_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Images without labels that join the training images."""
    return [
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
    ]


def _balance_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Classes of different size."""
    return [
        (
            e.dataset.class_weights != "none" and isinstance(e.strategy, Extract),
            f"dataset.class_weights={e.dataset.class_weights}: strategy=extract does not weigh classes; use "
            "strategy=finetune strategy.unfreeze=head, or dataset.sampler=balanced.",
        ),
        (
            e.dataset.sampler == "balanced"
            and isinstance(e.strategy, Extract)
            and e.strategy.solver not in ("auto", "optimizer"),
            "dataset.sampler=balanced: only strategy.solver=optimizer draws samples; the others see each once.",
        ),
        (
            e.dataset.sampler == "balanced" and e.dataset.class_weights != "none",
            f"dataset.sampler=balanced and dataset.class_weights={e.dataset.class_weights}: both at once correct "
            "twice for rare classes; use one of them.",
        ),
    ]


_COLOURS = ("brightness", "contrast", "saturation", "hue", "grayscale")
_POLICIES = {"randaugment": None, "trivialaugment": False}


def channel_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Views that are made of the colours of RGB, where images have channels of their own."""
    if e.dataset.channels is None or e.mode in ("evaluate", "predict", "export", "rank", "replay", "fetch", "cache"):
        return []
    off: dict[str, int | bool | None] = {key: 0 for key in _COLOURS if getattr(e.augment, key) > 0}
    off |= {key: unset for key, unset in _POLICIES.items() if getattr(e.augment, key) != unset}
    words = " ".join(f"augment.{key}={'null' if value is None else str(value).lower()}" for key, value in off.items())
    return [
        (
            bool(off),
            f"dataset.channels={e.dataset.channels}: augment={e.augment.name} changes colours, which are those of RGB. "
            f"Turn that off ({words}), or take augment=auto or augment=light.",
        )
    ]
