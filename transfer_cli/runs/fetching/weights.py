"""The weights of the models that a command names, brought into the caches of torchvision and of the model hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.command.source import ConfigSource, options
from transfer_cli.config.convert import MISSING
from transfer_cli.config.distill import Distill
from transfer_cli.config.schema import Experiment, Model
from transfer_cli.downloads import hub_cache
from transfer_cli.downloads.digest import Digest
from transfer_cli.errors import UserError
from transfer_cli.models import fetching, weights
from transfer_cli.models.fetching import Remote
from transfer_cli.models.published import WeightsSource
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.fetching.fetched import AT_HAND, Fetched, watching


@dataclass(frozen=True)
class Wanted:
    """Weights that exist: of which model, and which."""

    model: str
    source: WeightsSource


def wanted(e: Experiment, source: ConfigSource) -> list[Wanted]:
    """Those of `fetch.models`, each an option of `model` or a name; without, what the command would train with.

    Raises UserError with all names that nobody knows.
    """
    if e.fetch.models:
        asked = [_named(word, e.model.source, source) for word in dict.fromkeys(e.fetch.models)]
    else:
        asked = [] if e.fetch.datasets else [e.model, *_teachers(e)]
    found, problems = [], []
    for model in asked:
        try:
            found.append(Wanted(model.name, weights.resolve(model.name, model.source, model.weights)))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return found


def _named(word: str, library: str, source: ConfigSource) -> Model:
    """The model of an option, or of that name."""
    if word not in options(source).get("model", []):
        return Model(word, library, "auto")  # type: ignore[arg-type]
    values = to_plain(compose(source, parse_overrides([f"model={word}"])))["model"]
    if values["name"] == MISSING:
        raise UserError(f"fetch.models: {word} stands for any model of its library; name the model itself.")
    return Model(values["name"], values["source"], values["weights"])


def _teachers(e: Experiment) -> list[Model]:
    """The published networks that the command would distill from."""
    if not isinstance(e.strategy, Distill):
        return []
    teacher = e.strategy.teacher
    several = (teacher.weights,) if isinstance(teacher.weights, str) else teacher.weights
    return [Model(teacher.model, teacher.source, one) for one in several if teacher.model is not None]


def have(one: Wanted, reporter: Reporter, *, to_pack: bool) -> Fetched:
    """Fetch what is not there, or is damaged. Raises UserError at once where it cannot be fetched."""
    found, remote = one.source, one.source.remote
    for note in found.notes:
        reporter.warn(note)
    if remote is None:
        size = found.location.stat().st_size if found.location is not None and found.location.is_file() else 0
        state = "none published" if found.kind == "none" else f"{AT_HAND}, {found.kind}"
        return Fetched(one.model, found.label, found.location, size, state)
    path, state = found.location, AT_HAND
    if path is not None and not _is_whole(remote, path):
        reporter.warn(f"{path}: damaged, its hash is not that of {remote.name}; fetched again")
        path = None
    if path is None:
        with watching(f"fetching {one.model}", reporter) as watch:
            path, state = fetching.fetch(remote, found.otherwise, watch), "fetched"
    packed = ((fetching.describe(remote, path, one.model), path),) if to_pack else ()
    return Fetched(one.model, found.label, path, path.stat().st_size, state, packed)


def _is_whole(remote: Remote, path: Path) -> bool:
    """Whether a file is what its name, or the hub's cache, says; one of which nothing is said is believed."""
    known = hub_cache.version(path, remote.name) if remote.repository else None
    digest = Digest.of_etag(known[1]) if known else Digest.in_name(remote.name)
    return digest is None or digest.holds(path)
