"""The keys that one mode, or a sweep, has for itself: how a command goes about it, never what a training computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from transfer_cli.config.convert import Between, Count, Fraction, Positive

REPEATS = ("seed", "dataset.fold")
"""Keys whose values are no settings that one could prefer: jobs of a sweep that differ in them alone are repeats."""


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
class EvaluateCommand:
    """`mode=evaluate`."""

    corruptions: bool = False


@dataclass(frozen=True)
class ExplainCommand:
    """`mode=explain`: of how many images, and the class whose heat is shown; None: what the model calls the image."""

    images: Annotated[int, Between(1, 1000)] = 16
    label: str | None = None


@dataclass(frozen=True)
class AuditCommand:
    """`mode=audit`: how images are held out, what is almost the same, and how much the page shows."""

    folds: Annotated[int, Between(2, 100)] = 5
    similarity: Fraction = 0.9
    show: Annotated[int, Between(0, 1000)] = 60


@dataclass(frozen=True)
class CompareCommand:
    """`mode=compare`: which recipes, on how many seeds. The defaults are for the config.yaml of earlier runs."""

    rows: tuple[str, ...] = ()
    seeds: Annotated[int, Between(1, 100)] = 1


@dataclass(frozen=True)
class PredictCommand:
    """`mode=predict`: what a row says. The defaults are for the config.yaml of earlier runs."""

    top_k: Count = 1
    views: Annotated[int, Between(1, 64)] = 1
    threshold: Fraction | None = None
    strict: bool = False


@dataclass(frozen=True)
class ExportCommand:
    """`mode=export`: what is in the file, and what is found out about it. The defaults as above."""

    preprocessing: bool = False
    layout: Literal["nhwc", "nchw"] = "nhwc"
    quantize: Literal["none", "int8"] = "none"
    latency: bool = True


@dataclass(frozen=True)
class PushCommand:
    """`mode=push`: where to, who may see it, and what of this machine it tells. The defaults as above."""

    to: str | None = None
    private: bool = True
    paths: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class ReportCommand:
    """`mode=report`: which runs are listed, in which order. The defaults are for the config.yaml of earlier runs."""

    where: str | None = None
    sort: str | None = None


@dataclass(frozen=True)
class FetchCommand:
    """`mode=fetch`: of what, and an archive to carry. The defaults are for the config.yaml of earlier runs."""

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    pack: str | None = None
    unpack: str | None = None


@dataclass(frozen=True)
class Sweep:
    """With -m: what becomes of jobs that fail, and how hydra/sweeper=search searches. The defaults as above."""

    folder: str | tuple[str, ...] | None = None
    """For `mode=report`, which takes several, and `mode=soup`; the command line says `sweep=<folder>`."""
    retry_failed: bool = True
    stop_on_failure: bool = False
    max_failures: Count | None = None
    jobs_per_device: Count = 1
    trials: Count = 30
    sampler: Literal["tpe", "random", "grid", "cma"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    objectives: tuple[str, ...] = ()
    """Of config/objectives.py; none: `trainer.metric` alone."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Those that `folder` names."""
        return () if self.folder is None else (self.folder,) if isinstance(self.folder, str) else self.folder

    @property
    def most_failures(self) -> int | None:
        """After so many no further job starts; None: all do."""
        return 1 if self.stop_on_failure else self.max_failures


@dataclass(frozen=True)
class ScriptCommand:
    """`mode=script`: how many processes the script starts, and what it asks Slurm for. The defaults as above."""

    tasks: Count | None = None
    sbatch: str | None = None


@dataclass(frozen=True)
class FindLr:
    """`mode=find_lr`: how many steps, at rates from the lowest to the highest."""

    lowest: Positive
    highest: Positive
    steps: Annotated[int, Between(2)]
