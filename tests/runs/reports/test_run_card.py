"""The model card of a run: its figures are the run's, its YAML is YAML, and names stay names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import TINY, Ended, summary
from tests.runs.reports.made import made, with_model
from transfer_cli.csv_files import write_csv
from transfer_cli.files import file_sha256, write_json
from transfer_cli.runs.reports import run_card
from transfer_cli.runs.reports.run_card import leave_card, write_card

RUN = Path("outputs/runs/one")
HOSTILE = [
    "a|b`*`_x_*",
    "<img src=x onerror=alert(1)>",
    "[in](https://evil.example)\n---\nx: y\u202e: #&amp; www.e.co @u",
]


def card(run: Path) -> tuple[dict[str, Any], str, list[Token]]:
    """The YAML, the Markdown and its tokens."""
    write_card(run)
    found = (run / "README.md").read_text()
    _, head, body = re.split(r"^---\n", found, maxsplit=2, flags=re.MULTILINE)
    body, mark, _ = body.rpartition("<!-- transfer-run:")
    assert mark
    return yaml.safe_load(head), body, MarkdownIt("commonmark").enable("table").parse(body)


def kinds(tokens: list[Token]) -> set[str]:
    return {token.type for outer in tokens for token in [outer, *(outer.children or [])]}


def with_predictions(run: Path, rows: list[tuple[str, str]]) -> Path:
    lines = [[f"{number}", label, guess, "0.9"] for number, (label, guess) in enumerate(rows)]
    write_csv(run / "predictions.csv", ["path", "label", "predicted", "confidence"], lines)
    return run


def test_what_a_card_says_is_what_the_files_say() -> None:
    started = {"weights": "timm x.y", "weights_license": "apache-2.0", "weights_base": "timm/x.y"}
    run = with_model(made(RUN, "strategy.label_smoothing=0.1", config_hash="abc", **started))
    head, body, tokens = card(run)
    assert head["library_name"] == "transfer-run" and head["pipeline_tag"] == "image-classification"
    assert (head["license"], head["base_model"]) == ("apache-2.0", "timm/x.y")
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"] == {"name": "fake", "type": "fake", "split": "test"}
    assert [one["value"] for one in result["metrics"]] == [0.875, 0.8]
    for words in (
        "Test accuracy 87.50 % on 9 images (95 % interval 56.50 % to 98.01 %)",
        "transfer-run mode=predict run=. input=photo.jpg",
        "transfer-run mode=export run=. format=onnx",
        "60 images of 3 classes. 14 training images a class.",
        "| test | 9 | evaluated once, at the end |",
        "| class\\_0 | class\\_1 (1) | 14 | 3 | 66.67 % | 100.00 % | 0.8000 |",
        "Expected calibration error (ECE) 0.1000",
        "Validation, which chooses among epochs and settings, has 9 images only.",
        "cut out of the middle of an image (80 % of the shorter side)",
        "transfer-run name=one\n",
        "| Settings | `abc`, all in config.yaml |",
        "Label smoothing: Szegedy 2016",
    ):
        assert words in body, words
    assert [token.content for token in tokens if token.type == "inline" and token.level == 1][:2] == [
        "one",
        "A classifier of images into 3 classes: `efficientnet_lite0`, finetuned, on fake. Test accuracy 87.50 % on 9 "
        "images (95 % interval 56.50 % to 98.01 %).",
    ]
    known = ModelCard((run / "README.md").read_text()).data
    assert known.eval_results is not None and known.eval_results[0].metric_value == 0.875


def test_names_are_names_in_yaml_and_in_markdown() -> None:
    hostile = RUN.with_name("x: [`|*] # <b> " + "--- " * 25)
    run = with_model(made(hostile, 'dataset.path="a: {b}|"', classes=HOSTILE), HOSTILE)
    head, body, tokens = card(run)
    assert head["model-index"][0]["name"] == hostile.name.strip()
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "a: {b}|"
    assert not kinds(tokens) & {"html_inline", "html_block", "hr", "em_open", "strong_open"}
    links = [t.attrs["href"] for outer in tokens for t in outer.children or [] if t.type == "link_open"]
    assert links and all(str(link).startswith("https://arxiv.org/") for link in links)
    # Where a bar or a line break of a name broke a table, its rows had other numbers of cells.
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 4, 5, 8}
    shown = MarkdownIt("commonmark").enable("table").render(body)
    assert "a|b`*`_x_*" in shown and "&lt;img src=x onerror=alert(1)&gt;" in shown and "\\u202e: #&amp;amp;" in shown
    assert "https\\://evil" in body and "www\\.e.co \\@u" in body


def test_the_command_of_an_export_is_one_whatever_its_folder_is_called() -> None:
    run = with_model(made(RUN))
    folder = run / "export/for me"
    folder.mkdir(parents=True)
    sha256 = file_sha256(run / "model.safetensors")
    report = {"format": "onnx", "model_sha256": sha256, "compared": {"images": 9, "largest_difference": 1e-6}}
    write_json(folder / "export.json", report)
    (folder / "example.py").touch()
    _, body, _ = card(run)
    assert "\npython 'export/for me/example.py' photo.jpg\n" in body


def test_of_many_classes_the_worst_and_the_best_are_there() -> None:
    names = [f"kind {number:03d}" for number in range(200)]
    rows = [(name, names[(n + 1) % 200] if n % 10 == 0 else name) for n, name in enumerate(names) for _ in range(2)]
    run = with_predictions(with_model(made(RUN), names), rows)
    _, body, _ = card(run)
    shown = re.findall(r"^\| (kind \d+) \|", body, re.MULTILINE)
    assert len(shown) == 20 and shown[0] == "kind 000" and len({*shown}) == 20
    assert "The 10 classes of 200 with the lowest F1" in body
    assert "less than half of the test images of kind 000, kind 010" in body and "and 15 more classes" in body
    assert "Of 200 classes 200 have fewer than 10 test images" in body
    assert len(body) < 12_000


def test_what_a_run_has_not_is_not_said() -> None:
    run = with_model(made(RUN, test=None))
    (run / "predictions.csv").unlink()
    about = json.loads((run / "dataset.json").read_text())
    (run / "dataset.json").write_text(json.dumps({**about, "images": {"train": 42, "val": 9, "test": 0}}))
    head, body, _ = card(run)
    assert "model-index" not in head and "metrics" not in head and "license" not in head and "base_model" not in head
    assert "It was never tested: there are no test images." in body
    assert "interval" not in body and "Results by class" not in body and "Wilson" not in body
    for name in ("config.yaml", "environment.json", "dataset.json"):
        (run / name).unlink()
    assert "## Data" not in card(run)[1]


def test_test_images_without_labels_have_no_accuracy() -> None:
    run = with_model(made(RUN, test={"accuracy": None, "macro_f1": None, "loss": None, "ece": None}))
    with_predictions(run, [("", "class_0")] * 9)
    head, body, _ = card(run)
    assert "model-index" not in head
    assert "Its test images have no labels: how often it is right is not known." in body


def test_limits_follow_from_the_figures() -> None:
    rows = [("class_0", "class_0")] * 2900 + [("class_1", "class_1")] * 97 + [("class_1", "class_0")] * 3
    run = with_predictions(with_model(made(RUN, test={"accuracy": 0.999, "balanced_accuracy": 0.98, "ece": 0.2})), rows)
    about = json.loads((run / "dataset.json").read_text())
    counts = {"class_0": 2900, "class_1": 11, "class_2": 0}
    about |= {"images": {"train": 2911, "val": 1000, "test": 3000}, "images_of_class": {"train": counts}}
    (run / "dataset.json").write_text(json.dumps({**about, "skipped": [{"file": "x", "reason": "y"}]}))
    body = card(run)[1]
    limits = body.partition("## Limits")[2].partition("##")[0]
    assert "it may as well be" not in limits, "3,000 images tell"
    assert "chooses among epochs" not in limits
    assert "No test image is of class\\_2." in limits and "There was no training image of class\\_2." in limits
    assert "from 11 training images (class\\_1) to 2,900 (class\\_0)" in limits and "98.00 %" in limits
    assert "Fewer than 20 training images are of class\\_1." in limits
    assert "1 image could not be read" in limits and "20.00 % off on average" in limits
    assert "Most often" not in limits, "3 % of a class are not worth a word"


def test_a_network_that_finetuning_did_not_improve_is_said_to_be_as_it_was() -> None:
    run = with_model(made(RUN, "strategy.label_smoothing=0.1", "strategy.head_init=probe", best_epoch=0))
    body = card(run)[1]
    assert "as it was, with a head fitted to its features (finetuning did no better)" in body
    assert "| Parameters | 1,000 |" in body and "all layers" not in body and "| Epochs |" not in body
    assert "Kumar 2022" in body and "Szegedy" not in body and "AdamW" not in body


def test_where_no_image_was_wrong_that_may_be_luck() -> None:
    scores = {"accuracy": 1.0, "balanced_accuracy": 1.0, "top5_accuracy": 1.0}
    run, right = with_model(made(RUN, test=scores)), [("class_0", "class_0"), ("class_1", "class_1")]
    body = card(with_predictions(run, right))[1]
    assert "100.00 % | 34.24 % to 100.00 % |" in body
    assert re.search(r"^\| balanced accuracy \|.* 100.00 % \| +\|$", body, re.MULTILINE), "an image a class is no mean"
    body = card(with_predictions(run, 3 * right))[1]
    assert "100.00 % | 60.97 % to 100.00 % |" in body
    assert re.search(r"^\| balanced accuracy \|.* 100.00 % \| \d+\.\d\d % to 100.00 % \|$", body, re.MULTILINE)
    assert "top-5" not in body, "of three classes the first five are always right"


@pytest.mark.parametrize(
    ("soup", "said", "tagged"),
    [
        ("greedy soup", "the average of the weights of 2 runs (greedy soup), on fake", True),
        ("best run", "the best of 3 runs, none of whose averages was better on validation, on fake", False),
        ("wise\\_ft 0.9", "weights 0.9 of the way from where a run started to where it ended, on fake", False),
    ],
)
def test_a_soup_says_what_was_averaged(soup: str, said: str, tagged: bool) -> None:
    run = with_model(made(RUN, soup=soup.replace("\\", ""), best_epoch=None, config_hash="abc"))
    recipes = {"best run": ["a"], "greedy soup": ["a", "b"], "uniform soup": ["a", "b", "c"]}
    rows = [{"recipe": name, "runs": runs} for name, runs in recipes.items()]
    (run / "soup.json").write_text(json.dumps({"recipes": rows}))
    head, body, _ = card(run)
    assert said in body and ("model-soup" in head["tags"]) == tagged
    assert f"{soup[0].upper()}{soup[1:]} was chosen by its accuracy on validation." in body
    assert "`abc`, those of its best run in config.yaml" in body


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cc-by-nc-4.0", {"license": "cc-by-nc-4.0"}), ("dinov3-license", {"license": "other"}), (None, {})],
)
def test_the_licence_is_that_of_the_weights_or_left_out(name: str | None, expected: dict[str, str]) -> None:
    head, body, _ = card(with_model(made(RUN, weights="timm x", weights_license=name)))
    assert {key: head[key] for key in ("license",) if key in head} == expected
    assert head.get("license_name") == (name if expected.get("license") == "other" else None)
    assert ("not known to the run" in body) == (name is None)


def test_a_card_is_the_same_again_and_one_that_was_edited_is_kept() -> None:
    run, said = with_model(made(RUN)), list[str]()
    leave_card(run, said.append)
    first = (run / "README.md").read_bytes()
    leave_card(run, said.append)
    assert (run / "README.md").read_bytes() == first and not said
    (run / "summary.json").write_text(json.dumps({**summary(run), "calibration": {"temperature": 2.0}}))
    leave_card(run, said.append)
    assert (run / "README.md").read_bytes() != first, "one that nobody edited follows the run"
    (run / "README.md").write_text("Made for orchids.\n" + (run / "README.md").read_text())
    leave_card(run, said.append)
    assert (run / "README.md").read_text().startswith("Made for orchids.")
    assert len(said) == 1 and "was edited and is kept" in said[0]


@pytest.mark.parametrize("change", [{"status": "failed"}, {"status": None}])
def test_a_run_that_is_not_complete_has_none(change: dict[str, Any]) -> None:
    said: list[str] = []
    leave_card(with_model(made(RUN, **change)), said.append)
    leave_card(made(RUN.with_name("two")), said.append)
    assert not [*RUN.parent.rglob("README.md")] and not said


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), OSError(28, "No space left on device")])
def test_whatever_goes_wrong_with_a_card_is_a_warning(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(facts: object) -> str:
        raise error

    monkeypatch.setattr(run_card, "card", broken)
    said: list[str] = []
    leave_card(with_model(made(RUN)), said.append)
    assert len(said) == 1 and "README.md could not be written" in said[0]
    assert summary(RUN)["status"] == "completed"


def test_a_training_leaves_its_card_and_report_makes_it_again(command: Callable[..., Ended]) -> None:
    assert command(*TINY, "name=one", "trainer.epochs=1").code == 0
    card = RUN / "README.md"
    first = card.read_bytes()
    assert b"random weights" in first and b"Licence" not in first
    assert summary(RUN)["weights_license"] is None
    card.unlink()
    ended = command(*TINY, "name=one", "trainer.epochs=1", "resume=auto")
    assert ended.code == 0 and card.read_bytes() == first, "a kill may come between the page and the card"
    card.unlink()
    assert command("mode=report", f"run={RUN}").code == 0
    assert card.read_bytes() == first
