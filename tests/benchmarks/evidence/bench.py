"""One study from its first image to its last result: what is measured, in which order, and what is known already."""

from __future__ import annotations

import importlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import transfer_cli
from tests.benchmarks.evidence import cuts, ours, sets, sweep
from tests.benchmarks.evidence.cuts import Cut
from tests.benchmarks.evidence.methods import DEFAULT, METHODS, Peer, Recipe
from tests.benchmarks.evidence.peers.material import Material, Scores
from tests.benchmarks.evidence.results import Result, Results, code_of, key_of
from tests.benchmarks.evidence.words import Study
from transfer_cli.command.source import conf_dir
from transfer_cli.errors import RunError, UserError
from transfer_cli.extras import need

_PEERS = Path(__file__).parent / "peers"


@dataclass
class Bench:
    """A study, what it has measured, and where its sets are."""

    study: Study
    results: Results
    folders: dict[str, Path]
    commit: str
    code: str
    """Of transfer-run's own files."""
    device: str

    @classmethod
    def open(cls, study: Study) -> Bench:
        """With all sets written. Raises UserError where a package is missing, before anything is trained."""
        if "fastai" in study.methods:
            need("fastai", "bench", "evidence.methods: fastai")
        output = Path(study.output)
        folders = {
            sets.title(name): sets.prepare(name, output / "sets", study.path, study.download) for name in study.sets
        }
        package = Path(transfer_cli.__file__).parent
        code = code_of([*package.rglob("*.py"), *conf_dir().rglob("*.yaml")])
        return cls(study, Results.read(output / "results.jsonl"), folders, _commit(), code, _device(study.device))

    def run(self) -> Iterator[Result]:
        """Every result the study asks for, measured where it was not before; seed by seed, so all sets soon show."""
        methods = dict.fromkeys([DEFAULT, *self.study.methods])
        for model in self.study.models:
            for data in self.study.data:
                for seed in range(self.study.seeds):
                    for folder in self.folders.values():
                        cut = cuts.make(self.study, folder, data, seed)
                        for method in methods:
                            yield self._best_rate(model, cut, method)
            for data in self.study.data if self.study.sweep else []:
                for folder in self.folders.values():
                    yield from self._sweep(model, folder, data)

    def _sweep(self, model: str, folder: Path, data: str) -> Iterator[Result]:
        """All points at seed 0; at the other seeds the one that is best on validation."""
        recipes = {sweep.name_of(number): recipe for number, recipe in enumerate(sweep.points(self.study.sweep))}
        cut = cuts.make(self.study, folder, data, 0)
        found = [self._ours(model, cut, name, recipe) for name, recipe in recipes.items()]
        yield from found
        best = max(found, key=_on_validation).method
        for seed in range(1, self.study.seeds):
            yield self._ours(model, cuts.make(self.study, folder, data, seed), best, recipes[best])

    def _best_rate(self, model: str, cut: Cut, method: str) -> Result:
        """Of a recipe with rates to try, the one that is best on validation."""
        way = METHODS[method]
        if isinstance(way, Peer):
            return self._peer(model, cut, method, way)
        if not way.tuned or not self.study.rates:
            return self._ours(model, cut, method, way)
        tried = [Recipe((*way.words, f"optimizer.lr={rate:g}"), way.passes) for rate in self.study.rates]
        return max((self._ours(model, cut, method, recipe) for recipe in tried), key=_on_validation)

    def _ours(self, model: str, cut: Cut, method: str, recipe: Recipe) -> Result:
        words = ours.words_of(self.study, model, cut, recipe)
        key = key_of({"cut": cut.key, "settings": ours.settings_hash(words)})
        name = f"{cut.set}_{cut.data}_{cut.seed}_{method}_{key[:8]}_{self.code[:4]}"
        return self._known_or(
            key, self.code, model, cut, method, " ".join(words), lambda: ours.run(words, name, self.study)
        )

    def _peer(self, model: str, cut: Cut, method: str, peer: Peer) -> Result:
        name, _, tag = model.partition(".")
        epochs = getattr(self.study.epochs, cut.data)
        weights = tag or self.study.weights
        facts = {"size": self.study.image_size, "epochs": epochs, **dict(peer.options)}
        code = code_of(_PEERS / f"{file}.py" for file in (peer.module, "loop", "material"))
        key = key_of({"cut": cut.key, "model": model, "weights": weights, "method": method, "code": code, **facts})

        def fit() -> Scores:
            import torch

            material = Material(
                cut.folder, name, weights, self.study.image_size, epochs, cut.seed, torch.device(self.device)
            )
            module = importlib.import_module(f"tests.benchmarks.evidence.peers.{peer.module}")
            scores: Scores = module.fit(material, **dict(peer.options))
            return scores

        return self._known_or(key, code, model, cut, method, str(facts), fit)

    def _known_or(
        self, key: str, code: str, model: str, cut: Cut, method: str, setting: str, measure: Callable[[], Scores]
    ) -> Result:
        known = self.results.found.get(key)
        if known is not None and (known.code == code or not self.study.again):
            return known
        began = time.perf_counter()
        try:
            scores: Scores | None = measure()
        except RunError:
            if not method.startswith("sweep_"):
                raise
            # A rate too high for a set is an answer, too.
            scores = None
        name = next(one for one in self.study.sets if sets.title(one) == cut.set)
        result = Result(
            key,
            model,
            cut.set,
            sets.source_of(name).held_back,
            cut.data,
            cut.seed,
            method,
            setting,
            scores.val if scores else None,
            scores.test if scores else None,
            round(time.perf_counter() - began, 1),
            self.commit,
            code,
            self.device,
        )
        self.results.add(result)
        shown = f"val {100 * scores.val:.2f} test {100 * scores.test:.2f}" if scores else "failed"
        print(f"{model} {cut.set} {cut.data} seed {cut.seed} {method}: {shown} ({result.seconds:.0f} s)", flush=True)
        return result


def _on_validation(result: Result) -> float:
    return -1.0 if result.val is None else result.val


def _commit() -> str:
    here = Path(__file__).parent
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check(study: Study) -> None:
    """What our own words say against the study, before anything is written. Raises UserError."""
    from transfer_cli.models import backbones, weights

    for model in study.models:
        name, _, tag = model.partition(".")
        backbones.library(name, "auto")
        weights.resolve(name, "auto", tag or study.weights)
        for method in dict.fromkeys([DEFAULT, *study.methods]):
            recipe = METHODS[method]
            if isinstance(recipe, Recipe):
                cut = Cut("any", study.data[0], 0, Path("any"))
                try:
                    ours.settings_hash(ours.words_of(study, model, cut, recipe))
                except UserError as error:
                    raise UserError(f"evidence: {method} with {model}: {error}") from error
