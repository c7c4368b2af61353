"""The list of runs for a terminal: no line is wider than the screen, whatever its width."""

from __future__ import annotations

from transfer_cli.records.pages.list_page import list_page, text

RUNS = [
    {"run": f"out/{name}", "metric": "accuracy", "val": val, "test": 0.5, "status": status, "model": "m" * number}
    for number, (name, val, status) in enumerate([("a", 0.9, "completed"), ("bbb", None, "failed")], 1)
]


def test_columns_are_those_that_fit() -> None:
    seen = set()
    for width in range(4, 60):
        title, *lines = text(RUNS, [], "2 runs", "out", width).splitlines()
        assert title == "2 runs"
        if "---" in lines[1]:
            assert max(map(len, lines)) <= width
            seen.add(len(lines[0].replace(" %", "").split()))
    assert seen == {2, 3, 4, 5}, "a narrower screen has a line a value, one column more comes as soon as it fits"


def test_what_failed_is_told_before_what_others_scored_on_test() -> None:
    _, heading, *_ = text(RUNS, [], "2 runs", "out", 24).splitlines()
    assert heading.split() == ["run", "val", "%", "status"]


def test_a_page_leads_to_runs_of_any_name() -> None:
    names = ["runs/a b#1", "runs/\udcff"]
    runs = [{"run": name, "metric": "accuracy"} for name in names]
    page = list_page(runs, [], "2 runs", "All runs.", {name: f"{name}/report.html" for name in names})
    assert 'href="runs/a%20b%231/report.html">runs/a b#1<' in page
    assert 'href="runs/%FF/report.html">runs/\\udcff<' in page
