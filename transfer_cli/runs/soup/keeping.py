"""What a soup leaves: a run directory in which nothing trained, that predict, evaluate, export and pages read."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from transfer_cli import rundir
from transfer_cli.config.parse import to_dict
from transfer_cli.engine.devices import device as devices
from transfer_cli.engine.devices import gpus
from transfer_cli.errors import UserError, counted
from transfer_cli.files import atomic_write_text, write_json
from transfer_cli.methods.scores import Scores
from transfer_cli.methods.soups import Weights
from transfer_cli.models.tensors import replace_tensors
from transfer_cli.records import predictions
from transfer_cli.records.summary import environment, write_summary
from transfer_cli.rundir import read_json
from transfer_cli.runs.saved_model import DESCRIPTION, WEIGHTS
from transfer_cli.runs.soup.tasting import Tasting

FILE = "soup.json"
_OF_THE_BEST = (
    *("strategy", "model", "dataset", "seed", "parameters", "device", "precision", "weights_sha256", "config_hash"),
    *("metric", "weights", "weights_license", "weights_base"),
)
"""What a soup has in common with the best of its runs; how that one trained is not its own."""


def is_done(directory: Path, folder: Path, runs: Collection[str]) -> bool:
    """Whether a directory that may be there holds the whole soup of these runs in `folder`.

    Raises UserError where it holds something else; what a killed process has left of this soup is written again.
    """
    if not directory.is_dir() or not any(not path.name.startswith(".") for path in directory.iterdir()):
        return False
    about = read_json(directory / FILE)
    of = about.get("of")
    if of is None:
        raise UserError(f"resume=auto: {directory} is no soup. Choose another name.")
    if of != str(folder):
        raise UserError(f"resume=auto: {directory} is the soup of {of}. Choose another name.")
    if rundir.completed_summary(directory) is None:
        return False
    try:
        had = {str(name) for recipe in about["recipes"] for name in recipe["runs"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"resume=auto: {directory / FILE} is damaged. Choose another name.") from error
    if had != set(runs):
        raise UserError(
            f"resume=auto: {directory} is the soup of {counted(len(had), 'run')} of {of}, which by now has "
            f"{'others' if len(runs) == len(had) else f'{len(runs):,}'}. Choose another name for that of all."
        )
    return True


def keep(directory: Path, tasting: Tasting, weights: Weights, val: Scores, about: dict[str, Any]) -> None:
    """Write the model, its predictions of the test split, and `about`, which says what it is made of."""
    best = tasting.member
    # First of all, so that of whatever is there it can be said whose it is.
    write_json(directory / FILE, about)
    values = to_dict(replace(best.experiment, name=directory.name, resume="never"))
    atomic_write_text(directory / rundir.CONFIG, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    device = tasting.trained.compute.device
    about_device = environment(best.experiment.seed, devices.device_name(device), gpus.facts(device))
    write_json(directory / "environment.json", about_device)
    if (best.run / rundir.DATASET).is_file():
        shutil.copyfile(best.run / rundir.DATASET, directory / rundir.DATASET)
    # Where the best run was calibrated since, the soup is of what it was before.
    description = read_json(best.run / DESCRIPTION)
    write_json(directory / DESCRIPTION, {name: value for name, value in description.items() if name != "temperature"})
    replace_tensors(directory / WEIGHTS, weights)
    test = None
    if tasting.has("test"):
        logits, images = tasting.outputs(weights, "test"), tasting.decoded.images
        indices = images.splits["test"]
        ids, labels = [images.ids[index] for index in indices], images.labels[indices]
        tasting.task.write_predictions(directory / predictions.NAME, ids, logits, labels)
        test = tasting.scores_of(logits, "test")
    summary = read_json(best.run / rundir.SUMMARY)
    known = {key: summary.get(key) for key in _OF_THE_BEST}
    write_summary(
        directory, **{**known, "status": "completed", "epochs": 0, "val": val, "test": test, "soup": about["chosen"]}
    )
