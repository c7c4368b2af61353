"""Overrides: which keys a command names, however it writes them."""

from __future__ import annotations

import pytest

from transfer_cli.command.overrides import parse_overrides, words_in
from transfer_cli.errors import UserError


@pytest.mark.parametrize(
    ("word", "named", "not_named"),
    [
        ("dataset.path=x", ["dataset.path"], ["dataset", "dataset.pat", "dataset.shots"]),
        ("++dataset.path=x", ["dataset.path"], ["dataset"]),
        ("+dataset.samples=3", ["dataset.samples"], ["dataset"]),
        ("~dataset.shots", ["dataset.shots"], ["dataset"]),
        ("~dataset.shots=1", ["dataset.shots"], ["dataset"]),
        ("dataset=fake", ["dataset", "dataset.path"], ["datasets"]),
        ("dataset@dataset=fake", ["dataset", "dataset.path"], []),
        ("++dataset={path: x, more: {deep: 1}}", ["dataset.path", "dataset.more.deep"], ["dataset", "dataset.shots"]),
        ("++seed=1", ["seed"], ["split"]),
        ("seed=0,1", ["seed"], []),
        ("optimizer.betas=[0.9,0.99]", ["optimizer.betas"], ["optimizer"]),
        ('dataset.path="a=b"', ["dataset.path"], []),
    ],
)
def test_a_key_is_named_in_every_notation(word: str, named: list[str], not_named: list[str]) -> None:
    overrides = parse_overrides([word])
    assert overrides.arguments == [word]
    assert all(overrides.names(key) for key in named)
    assert not any(overrides.names(key) for key in not_named)


def test_words_of_a_group_come_back_as_they_were_typed() -> None:
    overrides = parse_overrides(["++model.name=x", "optimizer=sgd", "models=1", "image_size=32", "modelx.name=1"])
    assert overrides.of("model", "image_size") == ["++model.name=x", "image_size=32"]


def test_a_grid_is_every_combination_in_order() -> None:
    overrides = parse_overrides(["seed=0,1", "optimizer.lr=1e-3", "name=a,b"])
    assert overrides.grid_size() == 4
    jobs = overrides.combinations()
    assert jobs[0] == ["seed=0", "optimizer.lr=0.001", "name=a"]
    assert [(job[0], job[2]) for job in jobs] == [
        ("seed=0", "name=a"),
        ("seed=0", "name=b"),
        ("seed=1", "name=a"),
        ("seed=1", "name=b"),
    ]


def test_each_value_of_a_grid_once() -> None:
    overrides = parse_overrides(["seed=range(0,100)", "optimizer=sgd,adamw", "name=x"])
    assert overrides.grid_size() == 200
    jobs = [job.arguments for job in overrides.each_value_once()]
    assert len(jobs) == 101
    assert {word for job in jobs for word in job} == {
        *(f"seed={seed}" for seed in range(100)),
        *("optimizer=sgd", "optimizer=adamw", "name=x"),
    }


def test_every_unreadable_word_is_told() -> None:
    with pytest.raises(UserError) as caught:
        parse_overrides(["finetune", "seed=1", "name=a{b"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["finetune", "name=a{b"]


def test_null_among_choices_is_said_otherwise() -> None:
    with pytest.raises(UserError, match=r"takes no null; name the values, as in 'dataset.shots=3,null'"):
        parse_overrides(["dataset.shots=choice(3,null)"])


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=range(0,0)", "no values"),
        ("model=glob(res*)", "a pattern"),
        ("seed=range(0,3,0)", "steps of 0"),
        ("optimizer.lr=range(0.1,0.3,0.0)", "steps of 0"),
    ],
)
def test_what_is_no_list_is_named(word: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        [*parse_overrides([word]).each_value_once()]
    assert str(caught.value).startswith(word)


def test_words_of_a_leaderboard_may_hold_blanks() -> None:
    words = ["dataset.path='my photos'", "optimizer.betas=[0.9, 0.99]", "++seed=1", "model@model=x"]
    assert words_in(" ".join(words)) == words
    assert words_in("") == []
