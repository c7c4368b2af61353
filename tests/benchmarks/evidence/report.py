"""The tables and the claims as evidence.json and evidence.md, made of results alone; published figures say whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.evidence import claims
from tests.benchmarks.evidence.figures import Place, Table
from tests.benchmarks.evidence.methods import METHODS, Recipe
from tests.benchmarks.evidence.results import Result
from tests.benchmarks.evidence.words import Study
from transfer_cli.files import atomic_write_text, write_json

PUBLISHED = {
    "cifar100": (68.9, 63.4),
    "dtd": (64.3, 63.2),
    "flowers102": (97.2, 97.0),
    "oxford_pets": (86.9, 86.3),
    "eurosat": (95.7, 87.5),
}
"""Full finetuning and a linear probe of a ViT-B/16 (ImageNet-21k) at VTAB's 1,000 images: Jia 2022, Visual Prompt
Tuning, which takes VTAB's own draw of images and tunes rate and weight decay for each set."""


def write(results: Sequence[Result], study: Study) -> str:
    """Both files, and the Markdown."""
    table = Table(results)
    found = claims.verdicts(table)
    text = markdown(table, found, results, study)
    output = Path(study.output)
    write_json(output / "evidence.json", _plain(table, found, results, study))
    atomic_write_text(output / "evidence.md", text + "\n")
    return text


def markdown(table: Table, found: list[claims.Verdict], results: Sequence[Result], study: Study) -> str:
    """Accuracies, regret and claims, with what they were measured by."""
    parts = [_conditions(results, study)]
    for model, data in dict.fromkeys((place.model, place.data) for place in table.places()):
        places = [place for place in table.places() if (place.model, place.data) == (model, data)]
        parts.append(_accuracies(table, places))
    parts += [_regrets(table), _published(table), _claims(found)]
    return "\n\n".join(part for part in parts if part)


def _conditions(results: Sequence[Result], study: Study) -> str:
    commits = ", ".join(dict.fromkeys(one.commit for one in results))
    devices = ", ".join(dict.fromkeys(one.device for one in results))
    own = {
        one.code for one in results if isinstance(METHODS.get(one.method), Recipe) or one.method.startswith("sweep_")
    }
    mixed = (
        " Our own runs are of different code: evidence.again=true measures the older ones anew." if len(own) > 1 else ""
    )
    return (
        f"Test accuracy in per cent, mean over {study.seeds} seeds ± standard error, at {study.image_size} px on "
        f"{devices}, at commit {commits}. Sets with a star are held back: no default was chosen by them.{mixed}"
    )


def _accuracies(table: Table, places: list[Place]) -> str:
    """One model and amount of data: a row a set, a column a method."""
    methods = list(dict.fromkeys(method for place in places for method in table.methods(place)))
    head = f"| {places[0].data}, {places[0].model} | {' | '.join(methods)} |"
    rows = []
    for place in places:
        cells = [str(table.mean(place, method) or "") for method in methods]
        rows.append(f"| {_starred(table, place.set)} | {' | '.join(cells)} |")
    return "\n".join([head, "| --- |" + " --- |" * len(methods), *rows])


def _regrets(table: Table) -> str:
    rows = []
    for place in table.places():
        found = table.regret(place)
        if found is None:
            continue
        where = f"{_starred(table, place.set)}, {place.data}, {place.model}"
        chosen = " ".join(
            word for word in found.setting.split() if word.startswith(("optimizer.", "augment", "strategy."))
        )
        rows.append(f"| {where} | {found.by_validation} | {found.by_test:.1f} | {found.points} | `{chosen}` |")
    if not rows:
        return ""
    head = (
        "| regret of the default, in points | best on validation | best on test, seed 0 | settings tried | the best |"
    )
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])


def _published(table: Table) -> str:
    rows = [
        f"| {place.set}, {place.model} | {table.mean(place, 'finetune')} | {PUBLISHED[place.set][0]} "
        f"| {table.mean(place, 'probe') or ''} | {PUBLISHED[place.set][1]} |"
        for place in table.places()
        if place.data == "vtab" and place.set in PUBLISHED
    ]
    if not rows:
        return ""
    head = "| 1,000 images | finetune | published, full (Jia 2022, ViT-B/16) | probe | published, linear |"
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])


def _claims(found: list[claims.Verdict]) -> str:
    lines = []
    for one in found:
        lines.append(f"- {one.claim}: **{one.word}**.")
        lines += [f"  - {figure}" for figure in one.figures]
    return "\n".join(lines)


def _starred(table: Table, name: str) -> str:
    return f"{name} *" if table.held_back[name] else name


def _plain(table: Table, found: list[claims.Verdict], results: Sequence[Result], study: Study) -> dict[str, Any]:
    places = []
    for place in table.places():
        means = {method: table.mean(place, method) for method in table.methods(place)}
        regret = table.regret(place)
        places.append(
            {
                **asdict(place),
                "held_back": table.held_back[place.set],
                "test": {method: asdict(one) for method, one in means.items() if one is not None},
                "regret": None if regret is None else asdict(regret),
            }
        )
    verdicts = [{**asdict(one), "verdict": one.word} for one in found]
    return {"study": asdict(study), "places": places, "claims": verdicts, "runs": [asdict(one) for one in results]}
