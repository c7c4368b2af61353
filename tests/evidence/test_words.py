"""The command's words: a wrong one ends with exit code 2 and one message, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.evidence.__main__ import main
from tests.benchmarks.evidence.words import parse

WRONG = {
    "seeds=3": "expected evidence.<key>=<value>",
    "evidence.seeds": "expected evidence.<key>=<value>",
    "evidence.seed=3": "Did you mean evidence.seeds",
    "evidence.seeds=many": "evidence.seeds=many",
    "evidence.seeds=0": "expected 1 or more",
    "evidence.sets=[digit]": "Did you mean digits",
    "evidence.sets=[]": "nothing to do",
    "evidence.sets=[a/b,c/b]": "two sets are called b",
    "evidence.sets=[digits": "evidence.sets=[digits",
    "evidence.data=[lots]": "Choices: full, low, shots, vtab",
    "evidence.methods=[fast]": "Did you mean fastai",
    "evidence.epochs.ful=3": "Did you mean evidence.epochs.full",
    "evidence.epochs=0": "expected 1 or more",
    "evidence.rates=[0]": "above 0",
    "evidence.models=[efficientnet_lit0]": "no such model",
    "evidence.weights=nowhere": "model.weights",
    "evidence.sets=[flowers102]": "evidence.download=true",
}


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_word_is_exit_2_and_nothing_is_written(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not fastai, which only the extra `bench` brings.
    own = [] if word.startswith("evidence.methods") else ["evidence.methods=[probe]"]
    assert main([*own, word]) == 2
    captured = capsys.readouterr()
    assert WRONG[word] in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_one_number_of_epochs_is_that_of_all_data() -> None:
    assert parse(["evidence.epochs=3"]).epochs.low == 3
    study = parse(["evidence.epochs.low=5"])
    assert (study.epochs.low, study.epochs.full) == (5, 8)


def test_help_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "evidence.sweep=40" in capsys.readouterr().out
