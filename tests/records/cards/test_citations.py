"""What a card cites is what the code names as its source."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import transfer_cli
from tests.conftest import experiment
from transfer_cli.config.auto import place_of
from transfer_cli.config.dotted import dotted
from transfer_cli.config.parse import to_dict
from transfer_cli.records.cards import citations as module
from transfer_cli.records.cards.citations import TABLE, Work, citations
from transfer_cli.records.cards.facts import CardFacts

TEACHER = ("strategy=distill", "strategy.teacher.model=resnet18", "strategy.teacher.finetune=true")
OFF = {"optimizer.name": "sgd", "strategy.label_smoothing": 0}


@functools.cache
def settings(*words: str) -> dict[str, Any]:
    return to_dict(experiment(*words))


def whose(words: tuple[str, ...], changed: dict[str, Any], **summary: object) -> set[str]:
    config = copy.deepcopy(settings(*words))
    for key, value in changed.items():
        place_of(config, key.rpartition(".")[0])[key.rpartition(".")[2]] = value
    about = {"strategy": config["strategy"]["name"], **summary}
    facts = CardFacts("x", about, config, {}, {}, {}, None, {})
    return {f"{work.author} {work.year}" for _, work in citations(facts)}


def test_every_work_is_named_where_its_method_is() -> None:
    assert transfer_cli.__file__ is not None
    folder = Path(transfer_cli.__file__).parent
    others = [path for path in folder.rglob("*.py") if path.parent.name != "cards"]
    source = " ".join(" ".join(path.read_text().split()) for path in [*others, *folder.parent.glob("conf/*/*.yaml")])
    works = [one.work for one in TABLE] + [one for one in vars(module).values() if isinstance(one, Work)]
    for work in works:
        assert (work.arxiv or work.title) in source, work
        assert work.author in source, work


def test_every_key_of_the_table_is_one() -> None:
    keys = {key for words in ((), ("strategy=extract",), TEACHER) for key in dotted(settings(*words))}
    assert {one.key for one in TABLE} <= keys


def test_what_was_used_is_cited_and_nothing_else() -> None:
    assert whose(("strategy=extract",), {"strategy.solver": "ridge", "augment.mixup": 0.2}) == {"Golub 1979"}
    lora = {**OFF, "strategy.adapter": "lora", "augment.mixup": 0.2, "optimizer.name": "lion"}
    assert whose((), lora) == {"Hu 2021", "Zhang 2018", "Chen 2023"}
    assert whose((), lora, best_epoch=0) == set(), "a head on the network as it was"
    assert whose(TEACHER, OFF) == {"Hinton 2015"}
    assert whose(TEACHER, {**OFF, "strategy.use_teacher": False}) == set()
    assert whose((), OFF, soup="wise_ft 0.5") == whose((), OFF, soup="greedy soup") == {"Wortsman 2022"}
