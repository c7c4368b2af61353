"""A run that was begun when other values were the defaults goes on with those."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import experiment
from transfer_cli.config.continuation import continued, with_what_was_settled
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.parse import config_hash, parse, to_dict
from transfer_cli.config.schema import Experiment

CHOSEN = [
    *("image_fit=pad", "trainer.evaluate_every=1", "optimizer.lr=0.002", "strategy.keep_probe=false"),
    *("strategy.head_init=zero", "strategy.batch_norm=train", "strategy.layer_decay=1", "strategy.ema=0"),
    "strategy.wise_ft=false",
]
TAUGHT = ["strategy=distill", "strategy.teacher.model=resnet18", "strategy.teacher.finetune=true"]


def begun_before(*words: str) -> Experiment:
    """As a version had it in which neither patience nor an average of the weights was chosen by rule."""
    values = to_dict(experiment(*words))
    strategy = values["strategy"]
    for place in (strategy, strategy.get("adapt", {})):
        if "ema" in place:
            place["ema"] = 0.0
            del place["wise_ft"]
    values["trainer"]["patience"] = None
    return parse(values)


@pytest.mark.parametrize("words", [[], ["strategy=extract"], TAUGHT])
def test_a_run_keeps_what_was_the_default_when_it_began(words: list[str]) -> None:
    begun = begun_before(*words)
    found, changed = continued(experiment(*words), begun, "run", "")
    assert (found, changed) == (begun, {})


@pytest.mark.parametrize(
    ("words", "was"),
    [([], "3a5b3e5961625202"), (["strategy=extract"], "a62a5d6bca1d53c7"), (TAUGHT, "f75d12aa252d493c")],
)
def test_the_hash_of_a_run_is_what_it_was(words: list[str], was: str) -> None:
    """States are known by it: of a student too, whose teacher's settings are in it."""
    assert config_hash(begun_before(*words)) == was


def test_patience_belongs_to_the_epochs_that_were_chosen_with_it() -> None:
    begun = experiment(*CHOSEN, "trainer.epochs=40", "trainer.patience=10")

    def patience(*words: str) -> object:
        return continued(experiment(*words), begun, "run", "")[0].trainer.patience

    assert patience() == patience("trainer.epochs=40") == 10
    assert patience("trainer.epochs=60") is None, "or it would end at once"
    assert patience("trainer.epochs=60", "trainer.patience=7") == 7


def test_jobs_beside_those_of_an_earlier_version_are_like_them() -> None:
    ours, begun = experiment(), begun_before()
    found = with_what_was_settled(experiment("seed=1"), ours, begun)
    assert found == replace(begun, seed=1)
    said = with_what_was_settled(experiment("strategy.ema=0.9"), ours, begun).strategy
    assert isinstance(said, Finetune) and (said.ema, said.wise_ft) == (0.9, False)
    own = experiment("trainer.batch_size=auto")
    assert with_what_was_settled(own, experiment(), experiment()) is own, "32 is what the others say, not a default"
    assert with_what_was_settled(experiment("strategy=extract"), ours, begun).strategy.name == "extract"
