"""What a card cites is what the code names as its source."""

from __future__ import annotations

from pathlib import Path

import transfer_cli
from tests.conftest import experiment
from transfer_cli.config.dotted import dotted
from transfer_cli.config.parse import to_dict
from transfer_cli.records.cards import citations as module
from transfer_cli.records.cards.citations import TABLE, Work, citations
from transfer_cli.records.cards.facts import CardFacts


def facts(*words: str, **summary: object) -> CardFacts:
    e = experiment(*words)
    about = {"strategy": e.strategy.name, **summary}
    return CardFacts("x", about, to_dict(e), {}, {}, {}, None, {})


def whose(*words: str, **summary: object) -> set[str]:
    return {f"{work.author} {work.year}" for _, work in citations(facts(*words, **summary))}


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
    configurations = [[], ["strategy=extract"], ["strategy=distill", "strategy.teacher.model=resnet18"]]
    configurations[2].append("strategy.teacher.finetune=true")
    keys = {key for words in configurations for key in dotted(to_dict(experiment(*words)))}
    assert {one.key for one in TABLE} <= keys


def test_what_was_used_is_cited_and_nothing_else() -> None:
    assert whose("strategy=extract", "strategy.solver=ridge", "augment.erase=0.2") == {"Golub 1979"}
    assert whose("strategy.adapter=lora", "augment.mixup=0.2", "optimizer=lion", "strategy.label_smoothing=0") == {
        *("Hu 2021", "Zhang 2018", "Chen 2023")
    }
    teacher = ["strategy=distill", "strategy.teacher.model=resnet18", "strategy.teacher.finetune=true", "optimizer=sgd"]
    assert whose(*teacher) == {"Hinton 2015"}
    assert whose(*teacher, "strategy.use_teacher=false") == set()
    assert whose("optimizer=sgd", "strategy.label_smoothing=0", soup="wise_ft 0.5") == {"Wortsman 2022"}
