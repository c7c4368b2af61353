"""Every YAML in conf/ composes and becomes a typed experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import experiment
from transfer_cli.command.source import conf_dir
from transfer_cli.config.parse import config_hash, differences, parse, to_dict
from transfer_cli.errors import UserError

FILES = sorted(conf_dir().glob("*/*.yaml"))
NEEDS_MORE = {
    ("model", "timm"): ["model.name=resnet18"],
    ("model", "torchvision"): ["model.name=resnet18"],
    ("strategy", "distill"): ["strategy.teacher.weights=a_run"],
}


def test_the_options_are_counted() -> None:
    counts: dict[str, int] = {}
    for file in FILES:
        counts[file.parent.name] = counts.get(file.parent.name, 0) + 1
    assert counts == {
        "augment": 7,
        "dataset": 22,
        "experiment": 10,
        "model": 24,
        "optimizer": 10,
        "scheduler": 8,
        "strategy": 3,
        "trainer": 2,
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_option_composes_and_validates(file: Path) -> None:
    group, option = file.parent.name, file.stem
    assert experiment(f"{group}={option}", *NEEDS_MORE.get((group, option), [])).seed == 0


def test_plain_values_parse_back_to_the_same_experiment() -> None:
    one = experiment("dataset=fake", "optimizer=sgd", "augment.views=3")
    assert parse(to_dict(one)) == one


def test_a_run_from_before_the_metric_was_an_option_chose_by_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    values = to_dict(experiment())
    assert values["trainer"].pop("metric") == "accuracy"
    assert parse(values) == experiment()
    now = config_hash(experiment())
    monkeypatch.setattr("transfer_cli.config.parse.to_dict", lambda _: values)
    assert config_hash(experiment()) == now, "its identity is the same as before"
    with pytest.raises(UserError, match=r"trainer\.metric=acuracy: .*Did you mean accuracy"):
        experiment("trainer.metric=acuracy")


@pytest.mark.parametrize(
    ("key", "before", "asked"),
    [
        *(("dataset.max_pixels", None, "9"), ("dataset.channels", None, "9"), ("dataset.group", None, "a")),
        *(("trainer.deterministic", False, "true"), ("trainer.sync_batch_norm", False, "true")),
    ],
)
def test_a_run_from_before_a_key_was_an_option_keeps_its_identity(
    key: str, before: object, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, (group, name) = to_dict(experiment()), key.split(".")
    assert values[group].pop(name) == before
    assert parse(values) == experiment()
    now, other = config_hash(experiment()), config_hash(experiment(f"{key}={asked}"))
    monkeypatch.setattr("transfer_cli.config.parse.to_dict", lambda _: values)
    assert config_hash(experiment()) == now != other


@pytest.mark.parametrize("words", [["strategy=extract"], ["trainer.compile=true"]])
def test_common_statistics_are_refused_where_they_cannot_be(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"^trainer\.sync_batch_norm=true: .*; leave (it|trainer\.compile) out"):
        experiment(*words, "trainer.sync_batch_norm=true")


@pytest.mark.parametrize("word", ["strategy=extract", "trainer.compile=true", "optimizer=muon", "optimizer=adafactor"])
def test_sharing_out_is_refused_where_it_cannot_be(word: str) -> None:
    with pytest.raises(UserError, match=r"^trainer\.sharding=full: [^\n]*$"):
        experiment(word, "trainer.sharding=full")


def test_how_devices_share_is_no_setting_of_the_result() -> None:
    assert config_hash(experiment("trainer.sharding=full", "trainer.devices=2")) == config_hash(experiment())


def test_hash_ignores_where_and_notices_what() -> None:
    one = experiment()
    assert (
        config_hash(one)
        == config_hash(experiment("name=x", "resume=auto", "trainer.workers=2", "trainer.devices=4", "quiet=true"))
        == config_hash(experiment("mode=predict", "run=x", "input=y", "format=jsonl"))
    )
    for change in ("name=x", "trainer.workers=2", "sweep.max_failures=1", "rank.models=[resnet18]"):
        assert not differences(experiment(change), one), change
    for change in (
        "seed=1",
        "optimizer.lr=0.5",
        "trainer.metric=macro_f1",
        "dataset.shots=3",
        "image_size=96",
        "trainer.batch_size=8",
    ):
        assert config_hash(one) != config_hash(experiment(change)), change
        assert [line.split("=")[0] for line in differences(experiment(change), one)] == [change.split("=")[0]]
