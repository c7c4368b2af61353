"""Our own runs, through the command's entry point, as a user would type them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.evidence.cuts import Cut
from tests.benchmarks.evidence.methods import Recipe
from tests.benchmarks.evidence.peers.material import Scores
from tests.benchmarks.evidence.words import Study
from transfer_cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PREEMPTED, RunError, Stopped, UserError

_HEAVY = ("checkpoints", "model.safetensors")


def words_of(study: Study, model: str, cut: Cut, recipe: Recipe) -> list[str]:
    """The command of a recipe, all but its name and where it goes."""
    name, _, tag = model.partition(".")
    words = [
        *recipe.words,
        "dataset=folder",
        f"dataset.path={cut.folder}",
        f"image_size={study.image_size}",
        f"seed={cut.seed}",
    ]
    if recipe.passes:
        words.append(f"trainer.epochs={getattr(study.epochs, cut.data)}")
    if model != "efficientnet_lite0":
        words.append(f"model.name={name}")
    if tag or study.weights != "auto":
        words.append(f"model.weights={tag or study.weights}")
    if study.device != "auto":
        words.append(f"trainer.device={study.device}")
    return words


def settings_hash(words: Sequence[str]) -> str:
    """Of all that the words compose to: where a default changes, what was measured with the old one no longer counts.

    Raises UserError where they are wrong.
    """
    from transfer_cli.command.compose import compose, to_plain
    from transfer_cli.command.overrides import parse_overrides
    from transfer_cli.command.source import ConfigSource, conf_dir
    from transfer_cli.config.parse import config_hash, parse

    return config_hash(parse(to_plain(compose(ConfigSource(conf_dir(), "config", None), parse_overrides(list(words))))))


def run(words: Sequence[str], name: str, study: Study) -> Scores:
    """Train and score; goes on where a kill stopped it.

    Raises RunError where training fails, Stopped where a signal ends it, UserError otherwise.
    """
    from transfer_cli.cli import main

    folder = Path(study.output) / "runs" / name
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([*words, f"name={name}", f"output_dir={study.output}", "resume=auto", "quiet=true"])
    if code == EXIT_FAILED:
        raise RunError(said.getvalue())
    if code in (EXIT_PREEMPTED, EXIT_INTERRUPTED):
        raise Stopped(code, f"in {name}; the same command goes on there")
    if code != 0:
        raise UserError(f"transfer-run {' '.join(words)} ended with exit code {code}:\n{said.getvalue()}")
    summary = json.loads((folder / "summary.json").read_text())
    if not study.keep:
        _lighten(folder)
    return Scores(*(float(summary[split]["accuracy"]) for split in ("val", "test")))


def _lighten(folder: Path) -> None:
    """Leave figures and settings; hundreds of runs with their weights would fill the disk."""
    for name in _HEAVY:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
