"""Where else runs are written down: read back with each library's own reader; what fails or hangs costs a warning."""

from __future__ import annotations

import csv
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, logged, summary
from transfer_cli.config import loggers
from transfer_cli.records.loggers import detached
from transfer_cli.records.loggers.logger import Run

Command = Callable[..., Ended]
StopAt = Callable[[int | None], None]
RUN = Path("outputs/runs/a")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def test_a_table_for_spreadsheets_is_whole_after_a_stop(command: Command, stop_at: StopAt) -> None:
    words = [*TINY, "name=a", "resume=auto", "trainer.epochs=3", "logger=csv"]
    stop_at(5)
    assert command(*words).code == 75
    stop_at(None)
    assert command(*words).code == 0
    with (RUN / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    events = {(event["split"], event["epoch"]): event for event in logged(RUN / "metrics.jsonl")}
    for row in rows:
        assert float(row["val/accuracy"]) == events["val", int(row["epoch"])]["accuracy"]
        assert float(row["train/loss"]) == pytest.approx(events["train", int(row["epoch"])]["loss"])


def test_tensorboards_own_reader_reads_it(command: Command) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert command(*TINY, "name=a", "logger=tensorboard").code == 0
    found = EventAccumulator(str(RUN / "tensorboard"))
    found.Reload()
    events = [event for event in logged(RUN / "metrics.jsonl") if event["split"] == "val"]
    values = found.Scalars("val/accuracy")
    assert [value.step for value in values] == [event["step"] for event in events]
    assert [value.value for value in values] == pytest.approx([event["accuracy"] for event in events])
    assert "confusion_matrix" in found.Tags()["images"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # of MLflow's own libraries
def test_a_sweep_in_mlflow_is_a_run_with_its_jobs_below_it(command: Command) -> None:
    from mlflow import MlflowClient

    ended = command("-m", *TINY, "name=s", "seed=0,1", "trainer.epochs=1", "logger=[mlflow]")
    assert ended.code == 0 and "warning" not in ended.out, ended.out + ended.err
    client = MlflowClient(tracking_uri=f"sqlite:///{Path('outputs/mlflow.db').absolute()}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "transfer-run"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [one for one in runs if one.info.run_name == "s"]
    children = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(runs) == 3 and len(children) == 2
    for child in children:
        directory = Path("outputs/sweeps/s") / child.info.run_name
        assert child.info.status == "FINISHED"
        assert child.data.params["optimizer.name"] == "adamw"
        assert child.data.metrics["result/test/accuracy"] == summary(directory)["test"]["accuracy"]
        names = {one.path for one in client.list_artifacts(child.info.run_id)}
        assert {"config.yaml", "summary.json", "plots"} <= names


def test_wandb_makes_its_folder_offline(command: Command) -> None:
    ended = command(*TINY, "name=a", "logger=wandb")
    assert ended.code == 0 and "warning" not in ended.out, ended.out + ended.err
    (folder,) = (RUN / "wandb").glob("offline-run-*")
    assert any(folder.glob("*.wandb"))
    assert f"-{json.loads((RUN / 'loggers.json').read_text())['wandb']}" in folder.name


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer_costs_a_warning_and_two_seconds(
    command: Command, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*TINY, "name=b", "logger=csv").code == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server)
    waited = []
    close = detached._Thread.close

    def timed(self: detached._Thread) -> None:
        started = time.perf_counter()
        close(self)
        waited.append(time.perf_counter() - started)

    monkeypatch.setattr(detached._Thread, "close", timed)
    ended = command(*TINY, "name=a", "logger=mlflow")
    assert ended.code == 0
    assert ended.out.count("warning: logger=mlflow: it does not answer; the run goes on without it") == 1
    assert max(waited) < 3
    assert summary(RUN)["test"] == summary("outputs/runs/b")["test"]


class Failing:
    """Fails at the second epoch."""

    remote = False

    def begins(self, run: Run) -> bool:
        return True

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        if epoch == 2:
            raise RuntimeError("quota exceeded\nand much more")

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        raise AssertionError("it has failed before")


def test_one_that_fails_warns_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loggers.LOGGERS, "csv", f"{__name__}.Failing")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Failing.__module__])
    ended = command(*TINY, "name=a", "trainer.epochs=4", "logger=csv")
    assert ended.code == 0
    assert ended.out.count("warning: logger=csv: quota exceeded; the run goes on without it") == 1
    assert "Traceback" not in ended.out + ended.err


def test_a_logger_that_is_not_installed_is_said_before_anything_is_written(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loggers.PACKAGES, "wandb", "no_such_package")
    ended = command(*TINY, "name=a", "logger=[csv,wandb]")
    assert ended.code == 2
    assert "logger=wandb needs the package no_such_package" in ended.err and "transfer-run[wandb]" in ended.err
    assert not Path("outputs").exists()
    ended = command(*TINY, "logger=tensorbord")
    assert ended.code == 2 and "logger=tensorbord" in ended.err
