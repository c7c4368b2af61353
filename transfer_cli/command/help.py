"""The text of `transfer-run --help`: made from the YAML files themselves, without importing Hydra or torch."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from transfer_cli.command.source import ConfigSource, options

GROUPS = {
    "model": "the pretrained backbone",
    "dataset": "the images and how they are split",
    "strategy": "what is trained, and against which loss",
    "optimizer": "how weights move",
    "scheduler": "the learning rate at each step",
    "augment": "how training images vary",
    "trainer": "how long, how much at once, on what",
    "experiment": "whole recipes that set several groups at once",
}

KEYS = {
    "mode": "train (default), evaluate, predict, rank, find_lr, cache",
    "model.name": "any classification model of torchvision or timm",
    "model.weights": "auto, none, a torchvision enum name, a timm tag, a file, or a run directory",
    "dataset.path": "folder of the images, or the file or pattern that the data set is read from",
    "dataset.labels": "classes (default); none: images without classes, for features and distillation",
    "dataset.unlabelled": "distill: a folder of images without labels, to learn from the teacher on those as well",
    "dataset.on_bad": "error (default), skip: what becomes of images that cannot be decoded",
    "dataset.sampler": "uniform (default), balanced: each class equally often",
    "dataset.class_weights": "none (default), inverse, effective: rare classes count more in the loss",
    "dataset.val_fraction, .test_fraction": "share of images to validate and test on, where the set has no such split",
    "dataset.train_fraction, .shots": "train on a share, or on this many images of each class",
    "dataset.store": "decoded pixels: auto, disk, ram, device (GPU memory), stream (decode every epoch)",
    "dataset.source_factor": "training images are kept at this multiple of the training size (1.5), never enlarged",
    "image_size": "auto (the weights' own) or pixels",
    "strategy.unfreeze": "all, head, a number of stages below the head, or patterns of parameter names",
    "strategy.gradual": "epochs after which the next stage below thaws (0: all train from the start)",
    "strategy.batch_norm": "train (default), frozen: as it was, in what trains as well",
    "strategy.layer_decay, .head_lr": "the rate of a stage as a multiple of the next stage's, and the head's",
    "strategy.adapter": "none (default), lora, linear, bitfit; with strategy.adapter_rank, .adapter_alpha",
    "strategy.head_first": "epochs that fit the head to frozen features before all else (0: off)",
    "strategy.l2sp, .bss, .delta": "penalties: l2sp.alpha, .beta; bss.weight, .k; delta.weight, .stages (0: off)",
    "strategy.loss": "cross_entropy (default), focal with strategy.focal_gamma; strategy.label_smoothing",
    "strategy.logit_adjustment": "tau, for classes of different size (0: off)",
    "strategy.ema, .sam": "decay of an average of the weights; rho of sharpness-aware steps (0: off)",
    "strategy.drop_path": "stochastic depth, where the model has it",
    "strategy.lr_rules": "[[pattern, multiplier], ...]: rates by parameter name",
    "strategy.solver": "extract: optimizer (default), lbfgs, ridge, ncm, knn",
    "strategy.grid.lr, ...": "extract: lists of lr, weight_decay, seed; every head of the grid trains at once",
    "strategy.head": "extract: linear (default), mlp with strategy.hidden",
    "strategy.pooling, .stages": "extract: auto, average, token; features of these stages instead of the last",
    "strategy.teacher.weights": "a run directory, a list of them (they teach together), a file, or auto",
    "strategy.teacher.model, .finetune": "distill: a model by name; true: adapt it first, in a run of its own",
    "strategy.teacher.epochs, .lr": "distill: of the teacher's own run; null (default) takes the student's",
    "strategy.teacher.image_size": "distill: auto (the teacher's own) or pixels; it sees the student's views",
    "strategy.teacher.cache, .top_k": "distill: keep answers where views repeat (auto), and only so many logits each",
    "strategy.teacher.allow_chance": "distill: true goes on with a teacher that guesses",
    "strategy.loss.<term>": "distill: weights of ce, kd, dkd, dist, hint, attention, rkd, crd; 0 is off",
    "strategy.temperature": "distill: softens logits; strategy.standardize_logits=true scales them first",
    "strategy.pairs": "distill: [[student stage, teacher stage], ...] for hint and attention",
    "strategy.generations": "distill: students that each learn from the one before",
    "optimizer.lr, .weight_decay": "learning rate and weight decay",
    "scheduler.warmup": "a fraction of the run, or a number of steps",
    "augment.mixup, .cutmix": "alpha of the Beta distribution that images and labels are mixed with (0: off)",
    "augment.views": "K views that repeat (default: a fresh view every epoch)",
    "trainer.epochs, .batch_size": "how long, and images a step",
    "trainer.steps": "a number of steps in place of epochs, or bit: by the BiT rule, from the data set's size",
    "trainer.accumulate, .clip_grad": "batches a step, the largest gradient norm",
    "trainer.patience": "epochs without a better validation accuracy after which training ends",
    "trainer.device": "auto, cpu, cuda, cuda:1, mps",
    "trainer.precision": "auto, fp32, bf16, fp16",
    "run, input, output": "for evaluate and predict: a run directory; a file or folder; a CSV file",
    "split": "for evaluate: test (default), val, train",
    "seed": "every random choice follows from it",
    "name, resume": "outputs/runs/<name>; resume=auto continues it if it exists, resume=<run directory> that one",
    "output_dir, cache_dir": "where runs go (outputs), where caches go (auto)",
    "cache.action, cache.kind": "for cache: list (default), verify (damaged ones go), clear; all (default) or one kind",
    "find_lr.lowest, .highest, .steps": "for find_lr: rates from the lowest to the highest, a step each",
    "cache_size": "GiB that the cache may take; auto: half of what is free, up to 100. The least recently used goes",
    "quiet": "print only the run directory",
}

EXAMPLES = [
    ("the default experiment, offline", "transfer-run"),
    ("a head on your own folders of images", "transfer-run dataset=folder dataset.path=photos strategy.unfreeze=head"),
    ("a sweep", "transfer-run -m optimizer.lr=1e-3,1e-4 seed=0,1,2"),
    ("survive a kill: the same command goes on", "transfer-run name=flowers resume=auto trainer.epochs=20"),
    ("use what was trained", "transfer-run mode=predict run=outputs/runs/flowers input=photos/new"),
]

FLAGS = {
    "-m, --multirun": "sweep over comma-separated values",
    "--cfg job": "print the composed configuration and stop",
    "--config-dir DIR": "add your own YAML options (DIR/model/mine.yaml: model=mine)",
    "--config-path DIR": "run from another configuration, such as a run directory",
    "--info, --hydra-help, --shell-completion": "Hydra's own",
    "--version": "the version",
}

EXIT_CODES = {
    "0": "done",
    "1": "a bug of transfer-run",
    "2": "wrong input: one message, nothing written",
    "3": "failed while running; the last good state is kept",
    "75": "stopped by SIGTERM or SIGUSR1, state saved; the same command with resume=auto goes on",
    "130": "interrupted by Ctrl-C, state saved",
}


def help_text(source: ConfigSource) -> str:
    """Usage, examples, every group with its options, the fixed keys and the flags."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    parts = [
        "transfer-run: transfer learning from the command line",
        "",
        "usage: transfer-run [mode=train] [group=option ...] [key=value ...] [-m]",
        "",
        "Examples",
        *(f"  {command}\n      {meaning}" for meaning, command in EXAMPLES),
    ]
    found = options(source)
    for group in sorted(found, key=lambda name: [*GROUPS, name].index(name)):
        names = found[group]
        if not names:
            continue
        parts += ["", f"{group}=<option>: {GROUPS.get(group, 'your own group')}"]
        parts += _columns({name: _meaning(source, group, name) for name in names}, width)
    parts += ["", "Keys (key=value)", *_columns(KEYS, width), "", "Flags", *_columns(FLAGS, width), ""]
    parts += ["Exit codes", *_columns(EXIT_CODES, width)]
    return "\n".join(parts)


def _columns(rows: dict[str, str], width: int) -> list[str]:
    """Two aligned columns; a long first column takes a line of its own."""
    left = min(max((len(name) for name in rows), default=0), 24) + 4
    lines = []
    for name, meaning in rows.items():
        wrapped = textwrap.wrap(meaning, max(width - left, 24)) or [""]
        if len(name) + 3 > left:
            lines.append(f"  {name}")
        else:
            lines.append(f"{'  ' + name:<{left}}{wrapped.pop(0)}")
        lines += [" " * left + line for line in wrapped]
    return lines


def _meaning(source: ConfigSource, group: str, name: str) -> str:
    """The first comment of an option's YAML that is not Hydra's package directive."""
    for folder in reversed(source.group_folders()):
        file: Path = folder / group / f"{name}.yaml"
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith("#") and not line.startswith("# @package"):
                    return line.removeprefix("#").strip()
            return ""
    return ""
