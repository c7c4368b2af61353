"""The command's words, `evidence.<key>=<value>`, as one checked study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.benchmarks.evidence import sets
from tests.benchmarks.evidence.methods import METHODS
from transfer_cli.errors import UserError, did_you_mean, unknown

DATA = ("shots", "low", "full", "vtab")
"""How much there is to learn from: see `Study`."""


@dataclass
class Epochs:
    """Passes over the training images, by how many there are. evidence.epochs=<number> sets all of them."""

    shots: int = 40
    low: int = 20
    full: int = 8
    vtab: int = 20


@dataclass
class Study:
    """What is compared on what, every key of it a word of the command."""

    sets: list[str] = field(default_factory=lambda: list(sets.OFFLINE))
    """Our six, torchvision's by name (see path and download), or folders: a name with a / is one."""
    models: list[str] = field(default_factory=lambda: ["efficientnet_lite0"])
    """Names of torchvision or timm; a tag of timm's weights may stand behind a dot."""
    weights: str = "auto"
    """As model.weights, for models without a tag; none is for trying the command out."""
    data: list[str] = field(default_factory=lambda: ["low", "full"])
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    seeds: int = 3
    sweep: int = 0
    """Settings that a search tries at seed 0; the one that is best on validation then runs at all seeds."""
    image_size: int = 64
    epochs: Epochs = field(default_factory=Epochs)
    shots: int = 5
    """Training images of each class with evidence.data=shots."""
    low: int = 20
    """Likewise with low."""
    full: int = 2000
    """Training images at most with full, each class by its share; a quarter of that to validate on."""
    vtab: int = 1000
    """Images in all with vtab: 800 to train on, 200 to validate on, as VTAB-1k has it (Zhai 2019)."""
    test: int = 600
    """Test images at most, the same at every seed."""
    rates: list[float] = field(default_factory=list)
    """Learning rates that our other recipes try, chosen on validation; none: each recipe's own."""
    device: str = "auto"
    output: str = "outputs/evidence"
    path: str = "data"
    """Where torchvision's sets are."""
    download: bool = False
    """Fetch them there."""
    again: bool = False
    """Measure anew what was measured with other code of ours; its settings may say the same and mean another."""
    keep: bool = False
    """Keep the weights of every run, about 75 MB each with the default model."""


def parse(words: Sequence[str]) -> Study:
    """The study that the words ask for. Raises UserError naming the word that is wrong."""
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or not key.startswith("evidence."):
            raise UserError(f"{word}: expected evidence.<key>=<value>, such as evidence.seeds=3.")
    try:
        given = OmegaConf.from_dotlist(list(words)).get("evidence", OmegaConf.create({}))
    except Exception as error:  # YAML and OmegaConf each have their own
        raise UserError(f"{' '.join(words)}: {str(error).splitlines()[0]}") from error
    assert isinstance(given, DictConfig)
    _check_keys(given, Study, "evidence.")
    if isinstance(given.get("epochs"), DictConfig):
        _check_keys(given.epochs, Epochs, "evidence.epochs.")
    elif "epochs" in given:
        given.epochs = {one.name: given.epochs for one in fields(Epochs)}
    study = _typed(given)
    _check_names(study)
    _check_numbers(study)
    return study


def _check_keys(given: DictConfig, kind: type, prefix: str) -> None:
    names = [one.name for one in fields(kind)]
    for key in map(str, given):
        if key not in names:
            hint = did_you_mean(key, names, prefix)
            raise UserError(f"{prefix}{key}: no such key.{hint} Keys: {', '.join(names)}.")


def _typed(given: DictConfig) -> Study:
    """Key by key, so that the message can name the one that is wrong."""
    schema: Any = OmegaConf.structured(Study)
    for key in map(str, given):
        value = given[key]
        try:
            schema = OmegaConf.merge(schema, {key: value})
        except (OmegaConfBaseException, ValueError) as error:
            raise UserError(f"evidence.{key}={value}: {str(error).splitlines()[0]}.") from error
    study = OmegaConf.to_object(schema)
    assert isinstance(study, Study)
    return study


def _check_names(study: Study) -> None:
    for key, names in (("sets", study.sets), ("models", study.models), ("data", study.data)):
        if not names:
            raise UserError(f"evidence.{key}=[]: nothing to do; name one at least.")
    for name in study.sets:
        sets.source_of(name)
    titles = [sets.title(name) for name in study.sets]
    for title in titles:
        if titles.count(title) > 1:
            raise UserError(f"evidence.sets: two sets are called {title}.")
    for data in study.data:
        if data not in DATA:
            raise unknown("evidence.data", data, DATA)
    for method in study.methods:
        if method not in METHODS:
            raise unknown("evidence.methods", method, METHODS)


def _check_numbers(study: Study) -> None:
    least = {"seeds": 1, "sweep": 0, "image_size": 8, "shots": 1, "low": 1, "full": 1, "vtab": 5, "test": 1}
    for key, lowest in least.items():
        if getattr(study, key) < lowest:
            raise UserError(f"evidence.{key}={getattr(study, key)}: expected {lowest} or more.")
    for one in fields(Epochs):
        if getattr(study.epochs, one.name) < 1:
            raise UserError(f"evidence.epochs.{one.name}={getattr(study.epochs, one.name)}: expected 1 or more.")
    if any(rate <= 0 for rate in study.rates):
        raise UserError("evidence.rates: expected learning rates above 0.")
