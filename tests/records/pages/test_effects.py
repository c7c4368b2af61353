"""What each key of a sweep did: means over the jobs with each value, axes that fit the values, and all keys at once."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from transfer_cli.records.pages.effects import effects
from transfer_cli.records.pages.parallel import parallel
from transfer_cli.records.pages.tried import Scale, Tried, axis_of

SHARES = Scale("accuracy", in_percent=True)
LOSSES = Scale("loss", in_percent=False)


def grid() -> list[Tried]:
    """Rate x head x seed, best first: a rate is worth 0.2, a head 0.05, a seed 0.01."""
    found = [
        (0.5 + 0.2 * rate + 0.05 * head + 0.01 * seed, rate, head, seed)
        for rate, head, seed in itertools.product(range(3), range(2), range(2))
    ]
    return [
        Tried(
            number,
            f"job of {score:.2f}",
            {"optimizer.lr": ("1e-4", "1e-3", "1e-2")[rate], "head": ("linear", "<mlp>")[head], "seed": str(seed)},
            score,
        )
        for number, (score, rate, head, seed) in enumerate(sorted(found, reverse=True), 1)
    ]


def test_means_are_those_of_numpy() -> None:
    found = {effect.key: effect.means for effect in effects(grid())}
    expected = {
        "optimizer.lr": {
            value: np.mean([job.score for job in grid() if job.settings["optimizer.lr"] == value])
            for value in ("1e-4", "1e-3", "1e-2")
        },
        "head": {"linear": 0.705, "<mlp>": 0.755},
        "seed": {"0": 0.725, "1": 0.735},
    }
    assert {key: pytest.approx(means) for key, means in expected.items()} == found
    assert [effect.caption(SHARES) for effect in effects(grid())] == [
        "optimizer.lr: means 53.0 % to 93.0 %",
        "head: means 70.5 % to 75.5 %",
        "seed: means 72.5 % to 73.5 %",
    ]


def test_numbers_lie_on_an_axis_and_names_have_a_row_each() -> None:
    rate, head, seed = (effect.chart(SHARES) for effect in effects(grid()))
    assert [rate.count(f">{text}</text>") for text in ("0.0001", "0.001", "0.01")] == [1, 1, 1]
    line = re.search(r'class="line train" d="M([^"]+)"', rate)
    assert line
    across, up = zip(*([float(n) for n in point.split()] for point in line[1].split("L")), strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2), "a factor of ten takes the same room"
    assert up[0] > up[1] > up[2], "higher means lie higher"
    assert "&lt;mlp&gt;" in head
    assert "<mlp>" not in head
    assert head.index("&lt;mlp&gt;</text>") < head.index("linear</text>"), "the value with the best job comes first"
    assert head.count('class="mean"') == 2
    assert head.count('class="dot job"') == len(grid())
    assert "line train" not in seed and seed.count('class="mean"') == 2, "nothing lies between two seeds"


def test_values_that_all_differ_have_no_means() -> None:
    tried = [Tried(n, f"job {n}", {"optimizer.lr": str(0.1 / n)}, 0.9 - n / 100) for n in range(1, 31)]
    (effect,) = effects(tried)
    assert not effect.repeats
    assert effect.caption(LOSSES) == "optimizer.lr"
    assert "line train" not in effect.chart(LOSSES)
    assert parallel(tried, ["optimizer.lr"], LOSSES) is None, "one key is no parallel"


def test_a_key_that_only_some_jobs_name_counts_those_alone() -> None:
    tried = [*grid(), Tried(99, "another", {"optimizer.lr": "1e-4"}, 0.1)]
    by_key = {effect.key: effect for effect in effects(tried)}
    assert (len(by_key["head"].jobs), len(by_key["optimizer.lr"].jobs)) == (12, 13)
    drawn = parallel(tried, [*by_key], SHARES)
    assert drawn is not None
    assert drawn.count('class="way') == 12


def test_the_best_tenth_stands_out_and_is_drawn_last() -> None:
    drawn = parallel(grid(), ["optimizer.lr", "head", "seed"], SHARES)
    assert drawn is not None
    ways = re.findall(r"<title>(\d+): [^<]*</title><path class=\"(way[^\"]*)\"", drawn)
    assert ways[-1] == ("1", "way first")
    assert [kind for _, kind in ways].count("way first") == 1
    assert [int(number) for number, _ in ways] == [*range(12, 0, -1)]


def test_axes_hold_whatever_was_tried() -> None:
    assert axis_of([0.0, 0.1], "decay").ticks == (0.0, 0.1)
    assert axis_of([3.0, 3.0], "same").place(3.0) == pytest.approx(0.5)
    many = axis_of([10.0**-n for n in range(12)], "rate")
    assert many.log
    assert len(many.ticks) < 40
    assert axis_of([1e-30, 1e30], "wide").ticks
    assert axis_of([-5.0, 1000.0], "below").log is False


@pytest.mark.parametrize("values", [("1.7e308", "-1.7e308"), ("1e308", "1e-308"), ("5e-324", "1"), ("inf", "1")])
def test_values_at_the_edge_of_what_a_float_can_be_have_rows_as_names_have(values: tuple[str, str]) -> None:
    tried = [Tried(n, f"job {n}", {"key": value, "seed": str(n)}, 0.5 + n / 100) for n, value in enumerate(values)]
    (key, _) = effects(tried)
    drawn = key.chart(SHARES)
    assert all(f">{value}</text>" in drawn for value in values)
    more = [*tried, Tried(2, "third", {"key": values[0], "seed": "2"}, 0.4)]
    assert parallel(more, ["key", "seed"], SHARES) is not None
