"""Means, errors and regret of results that were made up, and what the claims make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.benchmarks.evidence.claims import verdicts
from tests.benchmarks.evidence.figures import Place, Table, mean
from tests.benchmarks.evidence.report import markdown
from tests.benchmarks.evidence.results import Result
from tests.benchmarks.evidence.words import parse

LOW = Place("net", "s", "low")
Made = Callable[..., Result]


def _claim(table: Table, words: str) -> str:
    return next(one.word for one in verdicts(table) if words in one.claim)


def test_the_standard_error_is_the_deviation_over_the_root_of_the_count() -> None:
    found = mean([1.0, 2.0, 3.0, 6.0])
    assert found.value == 3.0
    assert found.error == pytest.approx(2.160247 / 2)
    assert str(mean([91.26])) == "91.3"


def test_a_lead_is_taken_seed_by_seed(made: Made) -> None:
    table = Table(
        made("s", method, seed, test)
        for method, tests in {"finetune": [0.9, 0.8, 0.7], "probe": [0.85, 0.75]}.items()
        for seed, test in enumerate(tests)
    )
    lead = table.lead(LOW, over="probe")
    assert lead is not None
    assert (lead.value, lead.error, lead.count) == (pytest.approx(5.0), pytest.approx(0.0), 2)


def _swept(made: Made, name: str, chosen: tuple[float, float], *, held_back: bool) -> list[Result]:
    """A sweep of three, one of which failed: `chosen` is best on validation, with these tests at seeds 0 and 1."""
    given = {"held_back": held_back}
    return [
        *(made(name, "finetune", seed, 0.80, **given) for seed in (0, 1)),
        *(made(name, "sweep_00", seed, test, val=0.95, **given) for seed, test in enumerate(chosen)),
        made(name, "sweep_01", 0, 0.90, val=0.70, **given),
        made(name, "sweep_02", 0, None, **given),
    ]


def test_regret_is_of_what_validation_chooses_and_of_what_test_would(made: Made) -> None:
    regret = Table(_swept(made, "s", (0.82, 0.84), held_back=False)).regret(LOW)
    assert regret is not None
    assert regret.by_validation.value == pytest.approx(3.0)
    assert regret.by_validation.error == pytest.approx(1.0)
    assert regret.by_test == pytest.approx(10.0)
    assert (regret.points, regret.failed) == (3, 1)


def test_the_claim_on_regret_is_about_held_back_sets_alone(made: Made) -> None:
    tuned = _swept(made, "tuned", (0.99, 0.99), held_back=False)
    assert _claim(Table(tuned), "sweep") == "not measured"
    assert _claim(Table([*tuned, *_swept(made, "s", (0.81, 0.80), held_back=True)]), "sweep") == "held"
    assert _claim(Table([*tuned, *_swept(made, "s", (0.83, 0.83), held_back=True)]), "sweep") == "not held"


def test_behind_the_probe_by_less_than_its_error_holds_and_by_more_does_not(made: Made) -> None:
    ours = [made("s", "finetune", seed, test) for seed, test in enumerate((0.80, 0.84, 0.82))]
    near = [made("s", "probe", seed, test) for seed, test in enumerate((0.83, 0.83, 0.82))]
    far = [made("s", "probe", seed, test) for seed, test in enumerate((0.85, 0.86, 0.85))]
    assert _claim(Table([*ours, *near]), "good as probe") == "held"
    assert _claim(Table([*ours, *far]), "good as probe") == "not held"


def test_one_set_on_which_a_peer_is_better_is_enough(made: Made) -> None:
    results = [made("s", "finetune", 0, 0.9), made("s", "fastai", 0, 0.8)]
    assert _claim(Table(results), "better than fastai") == "held"
    results += [made("t", "finetune", 0, 0.9), made("t", "fastai", 0, 0.91)]
    table = Table(results)
    assert _claim(table, "better than fastai") == "not held"
    assert "net, t, low: finetune -1.0 (not held)" in next(v for v in verdicts(table) if "fastai" in v.claim).figures


def test_a_few_shots_are_compared_with_the_best_recipe_of_each_set(made: Made) -> None:
    results = [
        made("s", "finetune", 0, 0.80, data="shots"),
        made("s", "probe", 0, 0.70, data="shots"),
        made("s", "lora", 0, 0.805, data="shots"),
    ]
    assert _claim(Table(results), "few shots") == "held"
    assert _claim(Table([*results, made("s", "l2sp", 0, 0.82, data="shots")]), "few shots") == "not held"


def test_the_report_has_a_row_a_set_and_says_whose_figures_are_published(made: Made) -> None:
    results = [
        *(made("s", "finetune", seed, test, held_back=True) for seed, test in enumerate((0.9, 0.8))),
        made("dtd", "finetune", 0, 0.5, data="vtab"),
    ]
    table = Table(results)
    text = markdown(table, verdicts(table), results, parse([]))
    assert "| s * | 85.0 ± 5.0 |" in text
    assert "| dtd, net | 50.0 | 64.3 |" in text
    assert "Jia 2022" in text


def test_results_of_different_code_are_said(made: Made) -> None:
    results = [made("s", "finetune", 0, 0.9), replace(made("s", "probe", 0, 0.8), code="other")]
    assert "evidence.again=true" in markdown(Table(results), [], results, parse([]))
    assert "evidence.again" not in markdown(Table(results[:1]), [], results[:1], parse([]))
