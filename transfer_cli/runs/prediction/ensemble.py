"""Trained models as one: their probabilities, averaged over models and views.

Legend: B images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.schema import Experiment
from transfer_cli.engine.evaluation import BATCH_SIZE, predict
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import UserError, did_you_mean, one_line
from transfer_cli.methods.scores import softmax
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.prediction.pixels import Look, Part, gentle
from transfer_cli.runs.saved_model import Trained, load_trained


@dataclass(frozen=True)
class Member:
    """One trained model."""

    trained: Trained
    look: int
    """Number of the look that it takes."""
    columns: NDArray[np.int64]
    """Where the classes of the ensemble are among its own, [K]."""


@dataclass(frozen=True)
class Ensemble:
    """Trained models that know the same classes."""

    members: list[Member]
    looks: tuple[Look, ...]
    """What they take, each once: models of equal preprocessing share their pixels."""
    classes: tuple[str, ...]

    @property
    def channels(self) -> int | None:
        """Of the images: None for RGB."""
        return self.members[0].trained.about.channels

    @property
    def batch_size(self) -> int:
        """Images that the networks run on at once."""
        return BATCH_SIZE[self.members[0].trained.compute.device.type]

    def probabilities(self, part: Part) -> NDArray[np.float64]:
        """[B, K] of the images of a part, B > 0: each model counts as much, however many views it takes."""
        total = np.zeros((len(part.images), len(self.classes)))
        for member in self.members:
            total += self._of(member, part)
        return total / len(self.members)

    def _of(self, member: Member, part: Part) -> NDArray[np.float64]:
        """The probabilities of one model, averaged over its views."""
        trained, views = member.trained, part.shown[member.look]
        total = np.zeros((len(part.images), len(self.classes)))
        for batch in views:
            found = predict(trained.network, [batch], trained.compute, trained.to_device, Stop())
            assert found is not None
            total += softmax(found[0])[:, member.columns]
        return total / len(views)


def load_ensemble(experiment: Experiment, reporter: Reporter) -> Ensemble:
    """The models of all run directories that `run` names.

    Raises UserError for a damaged run, and for classes that differ.
    """
    members: list[Member] = []
    looks: list[Look] = []
    classes: tuple[str, ...] = ()
    for run in map(Path, experiment.runs):
        trained = load_trained(run, experiment)
        about = trained.about
        look = _look(run, about.preprocessing, experiment.predict.views, reporter)
        looks += [look] if look not in looks else []
        classes = classes or about.classes
        if members and about.channels != members[0].trained.about.channels:
            own, theirs = (one.preprocessing.channels for one in (about, members[0].trained.about))
            raise UserError(
                f"run={run}: it takes images of {own} channels, and {experiment.runs[0]} of {theirs}. Average models "
                "of the same images."
            )
        members.append(Member(trained, looks.index(look), _columns(run, about.classes, experiment.runs[0], classes)))
    return Ensemble(members, tuple(looks), classes)


def _look(run: Path, preprocessing: Preprocessing, views: int, reporter: Reporter) -> Look:
    if views == 1:
        return Look(preprocessing)
    saved = saved_experiment(run)
    recipe = gentle(saved.augment)
    if recipe is None:
        reporter.warn(f"predict.views={views}: has no effect on {run}, whose training varied nothing that views can")
        return Look(preprocessing)
    return Look(preprocessing, recipe, saved.dataset.source_factor, views)


def _columns(run: Path, own: tuple[str, ...], first: str, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Where each of `classes` is in `own`. Raises UserError where they are not the same names."""
    only_here, only_there = sorted({*own} - {*classes}), sorted({*classes} - {*own})
    if only_here or only_there:
        parts = [
            f"only {where} knows {', '.join(names[:5])}{', ...' * (len(names) > 5)}."
            for where, names in ((run, only_here), (first, only_there))
            if names
        ]
        hint = did_you_mean(only_here[0], only_there) if only_here and only_there else ""
        raise UserError(one_line(f"run={run}: its classes are not those of {first}: {' '.join(parts)}{hint}"))
    positions = {name: index for index, name in enumerate(own)}
    return np.array([positions[name] for name in classes], np.int64)
