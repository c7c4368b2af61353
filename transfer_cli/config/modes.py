"""What a command can do: the modes by name, each a file of this name in transfer_cli/modes/."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """One mode: what it does, for the help page, and which of the keys that only some modes read it reads."""

    does: str
    needs: tuple[str, ...] = ()
    """Of run, input, output and sweep: must be said."""
    takes: tuple[str, ...] = ()
    """Of these: may be said."""
    formats: tuple[str, ...] = ()
    """What `format` may say besides auto; none: it does not read `format`."""
    takes_runs: bool = False
    """Whether `run` may name several."""
    takes_sweeps: bool = False
    """Whether `sweep` may."""
    reads_images: bool = False
    """Whether it reads `dataset`, so that its path is checked first."""
    resumes: bool = False
    """Whether resume=auto goes on with what its name began."""
    composes: bool = False
    """Whether it makes further configurations of the command's words, and so is given where these come from."""


MODES: dict[str, Mode] = {
    "train": Mode("train one experiment and evaluate it once", reads_images=True, resumes=True),
    "evaluate": Mode("score trained models on a split, and one against another", needs=("run",), takes_runs=True),
    "calibrate": Mode("bring a trained model's confidences in line with validation", needs=("run",)),
    "predict": Mode(
        "label images with trained models",
        needs=("run", "input"),
        takes=("output",),
        formats=("csv", "jsonl"),
        takes_runs=True,
    ),
    "explain": Mode("show where in images a trained model saw what it says", needs=("run",), takes=("input",)),
    "export": Mode(
        "write a trained model for use without transfer-run, checked and timed",
        needs=("run",),
        takes=("input", "output"),
        formats=("onnx", "torch_export", "timm", "safetensors"),
    ),
    "push": Mode("send a trained model and its card to a model hub", needs=("run",)),
    "auto": Mode(
        "choose a backbone and settings, train and calibrate, within trainer.budget", reads_images=True, resumes=True
    ),
    "rank": Mode("compare backbones for a data set before anything is trained", reads_images=True),
    "audit": Mode("list labels that are likely wrong, and images almost the same in two splits", reads_images=True),
    "compare": Mode(
        "train by several recipes on the same images and recommend one", reads_images=True, resumes=True, composes=True
    ),
    "soup": Mode(
        "average the weights of a sweep's finetuned runs, as validation chooses", needs=("sweep",), resumes=True
    ),
    "find_lr": Mode("try learning rates and suggest one", reads_images=True),
    "replay": Mode("repeat the step at which a run diverged, and say where it begins", needs=("run",)),
    "script": Mode(
        "print a training or a sweep (-m) as a script for Slurm, a shell or cron",
        formats=("slurm", "loop", "cron"),
        reads_images=True,
        resumes=True,
        composes=True,
    ),
    "cache": Mode("list, verify or clear what is cached"),
    "report": Mode(
        "list runs by condition, or make the page of a run or a sweep again",
        takes=("run", "sweep", "output"),
        formats=("table", "csv", "page"),
        takes_runs=True,
        takes_sweeps=True,
    ),
    "fetch": Mode(
        "bring weights and data sets here, or pack them for a machine without a network",
        composes=True,
    ),
}

FORMATS = tuple(dict.fromkeys(name for mode in MODES.values() for name in mode.formats))
"""All that a mode writes."""
