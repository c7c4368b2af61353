"""The space of a search: Hydra's words as distributions, and one for those who name none."""

from __future__ import annotations

import functools

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.config.parse import parse
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import UserError
from transfer_cli.sweeps.search.space import Space, corners, searched, space_of, words_of


@functools.cache
def base() -> Experiment:
    return parse(to_plain(compose(ConfigSource(conf_dir(), "config", None), parse_overrides([]))))


@pytest.mark.parametrize("key", ["dataset.shots", "trainer.epochs", "trainer.patience", "image_size"])
def test_whole_numbers_are_drawn_for_keys_that_take_no_others(key: str) -> None:
    """Also where nothing, or auto, stands there."""
    assert space_of(parse_overrides([f"{key}=interval(32, 64)"]), base()) == {key: IntDistribution(32, 64)}


def test_fractions_are_drawn_where_they_may_be() -> None:
    words = ["scheduler.warmup=interval(0, 0.3)", "augment.rotate=interval(0, 15)"]
    found = {"scheduler.warmup": FloatDistribution(0, 0.3), "augment.rotate": FloatDistribution(0, 15)}
    assert space_of(parse_overrides(words), base()) == found


def test_each_kind_of_word_has_its_distribution() -> None:
    words = [
        *("optimizer=sgd,adamw", "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "trainer.epochs=interval(2, 9)"),
        *(
            "seed=range(0, 10, 3)",
            "strategy.label_smoothing=range(0, 0.3, 0.1)",
            "+strategy.l2sp.alpha=interval(0, 1.5)",
        ),
        *("image_size=64", "augment=choice(none, light)"),
    ]
    assert space_of(parse_overrides(words), base()) == {
        "optimizer": CategoricalDistribution(["sgd", "adamw"]),
        "optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "trainer.epochs": IntDistribution(2, 9),
        "seed": IntDistribution(0, 9, step=3),
        "strategy.label_smoothing": FloatDistribution(0, 0.2, step=0.1),
        "+strategy.l2sp.alpha": FloatDistribution(0, 1.5),
        "augment": CategoricalDistribution(["none", "light"]),
    }


@pytest.mark.parametrize(
    ("word", "ends", "step"),
    [
        ("range(0.3, 0.1, -0.1)", (0.2, 0.3), 0.1),
        ("range(0, 0.35, 0.1)", (0, 0.3), 0.1),
        ("range(1e-5, 5e-5, 1e-5)", (1e-5, 4e-5), 1e-5),
    ],
)
def test_ends_of_a_range_are_multiples_of_its_step(word: str, ends: tuple[float, float], step: float) -> None:
    """Else there would be a warning, and warnings are errors here."""
    found = space_of(parse_overrides([f"optimizer.lr={word}"]), base())
    assert found == {"optimizer.lr": FloatDistribution(*ends, step=step)}


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=interval(1, 0.1)",
        "optimizer.lr=tag(log, interval(0, 1))",
        "model=glob(*)",
        "seed=range(0,3,0)",
        "optimizer.lr=tag(lgo, interval(1e-4, 1e-1))",
        "optimizer.lr=tag(log, range(1e-3, 1e-1, 1e-2))",
        "optimizer.lr=tag(log, choice(1e-3, 1e-2))",
    ],
)
def test_what_cannot_be_searched_is_named(word: str) -> None:
    with pytest.raises(UserError) as caught:
        space_of(parse_overrides([word]), base())
    assert str(caught.value).startswith(word)


def test_corners_hold_every_end_once() -> None:
    found = corners(parse_overrides(["seed=1", "augment=none,light", "optimizer.lr=interval(0.1, 0.2)"]))
    assert found == [
        ["seed=1", "augment=none", "optimizer.lr=0.1"],
        ["seed=1", "augment=light", "optimizer.lr=0.1"],
        ["seed=1", "augment=none", "optimizer.lr=0.2"],
    ]


@pytest.mark.parametrize("strategy", ["finetune", "extract", "distill"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_space_for_those_who_name_none(strategy: str, optimizer: str) -> None:
    words = [
        f"strategy={strategy}",
        f"optimizer={optimizer}",
        *["strategy.teacher.model=resnet18"] * (strategy == "distill"),
    ]
    overrides = searched(parse_overrides([*words, "trainer.epochs=3"]), strategy, optimizer)
    space = space_of(overrides, base())
    assert "trainer.epochs" not in space, "it was named"
    assert {"optimizer.lr", "optimizer.weight_decay"} < {*space}
    assert "tune=off" in overrides.arguments
    source = ConfigSource(conf_dir(), "config", None)
    for corner in corners(overrides):
        parse(to_plain(compose(source, parse_overrides(corner))))


def test_a_named_space_is_not_widened() -> None:
    overrides = searched(parse_overrides(["seed=0,1", "tune=quick"]), "finetune", "adamw")
    assert overrides.arguments == ["seed=0,1", "tune=quick"]


def test_a_proposal_as_words() -> None:
    space = space_of(
        parse_overrides(["optimizer.lr=interval(1e-4,1e-2)", "augment=light,none", "seed=range(0,9)"]), base()
    )
    assert words_of({"optimizer.lr": 0.00123456, "augment": "light", "seed": 3}, space) == [
        *("optimizer.lr=0.001235", "augment=light", "seed=3"),
    ]


def test_values_of_a_narrow_interval_are_told_apart_and_stay_in_it() -> None:
    space: Space = {"m": FloatDistribution(0.999, 0.99999)}
    several = [0.999, 0.9991234, 0.99951, 0.99952, 0.99996, 0.99999]
    shown = [words_of({"m": value}, space)[0] for value in several]
    assert len({*shown}) == len(several)
    assert all(0.999 <= float(word.removeprefix("m=")) <= 0.99999 for word in shown)
    (word,) = words_of({"m": 0.2499999}, {"m": FloatDistribution(0.1, 0.2499999)})
    assert float(word.removeprefix("m=")) <= 0.2499999
    assert corners(parse_overrides(["optimizer.lr=interval(0.999,0.99999)"]))[1] == ["optimizer.lr=0.99999"]
