"""A package beside this one adds a backbone, a data set, a strategy and a logger, and nothing here is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Ended, summary

Command = Callable[..., Ended]
PACKAGE = Path(__file__).parent / "package"
RUN = Path("outputs/runs/p")
ALL = [
    *("model.name=pondnet", "model.source=timm", "model.weights=none", "dataset=fake", "dataset.name=ponds"),
    *("strategy.name=gentle", "+strategy.longest=0.25", "logger=diary", "image_size=32", "trainer.epochs=2"),
    *("trainer.batch_size=16", "trainer.device=cpu", "trainer.precision=fp32", "augment=light"),
]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PACKAGE))


@pytest.mark.usefixtures("package")
def test_all_four_in_one_run(command: Command) -> None:
    ended = command(*ALL, "name=p")
    assert ended.code == 0, ended.out + ended.err
    found = summary(RUN)
    assert (found["model"], found["dataset"], found["strategy"]) == ("pondnet", "ponds", "gentle")
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["strategy"]["longest"] == 0.25 and config["trainer"]["clip_grad"] == 0.25
    *epochs, end = (RUN / "diary.txt").read_text().splitlines()
    assert len(epochs) >= 2 and end == "completed"
    ended = command("mode=evaluate", f"run={RUN}", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    ended = command("mode=predict", f"run={RUN}", f"input={PACKAGE}", "trainer.device=cpu")
    assert ended.code == 2, "no pictures there"
    again = command("--config-path", str(RUN), "name=again")
    assert again.code == 0, again.err
    assert (RUN / "model.safetensors").read_bytes() == Path("outputs/runs/again/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("model.name=pondnets", "model.name=pondnets: no such model"),
        ("dataset.name=pond", "dataset.name=pond: no such choice. Did you mean ponds?"),
        ("strategy.name=gentel", "strategy.name=gentel: expected one of"),
        ("logger=dairy", "logger=dairy: no such choice. Did you mean diary?"),
        ("strategy.longest=x", "strategy.longest=x: expected a number"),
    ],
)
@pytest.mark.usefixtures("package")
def test_what_is_not_there_is_said(command: Command, word: str, says: str) -> None:
    words = [one for one in ALL if one.lstrip("+").partition("=")[0] != word.partition("=")[0]]
    ended = command(*words, f"+{word}" if "longest" in word else word)
    assert ended.code == 2 and says in ended.err, ended.err
    assert not Path("outputs").exists()


def test_without_the_package_its_names_are_unknown(command: Command) -> None:
    ended = command(*ALL)
    assert ended.code == 2 and "gentle" in ended.err


def test_a_package_that_cannot_be_imported_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "broken-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[transfer_run.datasets]\nswamp = no_such_module_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = command("dataset=fake", "dataset.name=swamp")
    assert ended.code == 2
    assert "broken adds swamp to transfer_run.datasets, and it cannot be imported" in ended.err


@pytest.mark.usefixtures("package")
def test_a_network_of_another_kind_trains_as_a_whole(command: Command) -> None:
    words = [word for word in ALL if not word.startswith(("model.name", "strategy", "+strategy"))]
    ended = command(*words, "model.name=puddle", "name=p")
    assert ended.code == 0, ended.out + ended.err
    ended = command(*words, "model.name=puddle", "strategy=extract", "name=q")
    assert ended.code == 2 and "no features" in ended.err
