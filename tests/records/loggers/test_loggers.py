"""Where else runs are written down: read back with each library's own reader; what fails or hangs costs a warning."""

from __future__ import annotations

import csv
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, experiment, logged, summary
from transfer_cli.config import loggers
from transfer_cli.records.events import EpochEnd, RunEnd, RunStart
from transfer_cli.records.loggers import detached, mlflow_store
from transfer_cli.records.loggers.logger import Run
from transfer_cli.records.loggers.tensorboard_events import FOLDER, TensorBoardLogger
from transfer_cli.records.terminal import Reporter

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


def test_tensorboard_shows_a_run_that_began_again_once() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(Path(), {}, first_step=0)
    for accuracy in (0.25, 0.75):
        logger = TensorBoardLogger()
        assert logger.begins(run)
        logger.scores(3, 1, {"val/accuracy": accuracy})
        logger._writer.close()
        if accuracy == 0.25:
            # Files are read in the order of the seconds in their names.
            (file,) = Path(FOLDER).iterdir()
            file.rename(f"{FOLDER}/events.out.tfevents.1")
    found = EventAccumulator(FOLDER)
    found.Reload()
    assert [(value.step, value.value) for value in found.Scalars("val/accuracy")] == [(3, 0.75)]


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
    assert detached.PATIENCE <= 2
    monkeypatch.setattr(detached, "PATIENCE", 0.3)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", silent_server)
    waited = []
    close = detached._Thread.close

    def timed(self: detached._Thread, since: float, patience: float) -> None:
        started = time.perf_counter()
        close(self, since, patience)
        waited.append(time.perf_counter() - started)

    monkeypatch.setattr(detached._Thread, "close", timed)
    ended = command(*TINY, "name=a", "logger=mlflow")
    assert ended.code == 0
    assert ended.out.count("warning: logger=mlflow: it does not answer; the run goes on without it") == 1
    assert max(waited) < 1.5
    assert summary(RUN)["status"] == "completed"


GIVEN_UP = """
import os, threading, time
from pathlib import Path
from transfer_cli.records.loggers.logger import Run
from transfer_cli.records.loggers.wandb_run import WandbLogger
run = Run(Path.cwd(), {}, first_step=0)
threading.Thread(target=WandbLogger().begins, args=(run,), daemon=True).start()
while not Path("wandb").is_dir():
    time.sleep(0.05)
time.sleep(1)
print(time.time())
"""


def test_wandb_keeps_no_process_that_gave_it_up(silent_server: str) -> None:
    # Without the process that the library keeps for an earlier test.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": silent_server, "WANDB_API_KEY": 40 * "0"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    words = [sys.executable, "-c", GIVEN_UP]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert time.time() - float(ended.stdout) < 10, "it waits for half a minute"


class Hanging:
    """Begins, and hangs from the first scores on."""

    remote = True
    released = threading.Event()

    def begins(self, run: Run) -> bool:
        return False

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        self.released.wait(60)

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        """Never comes to it."""


def test_a_run_that_a_signal_ends_waits_less_and_for_all_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Hanging.__module__])
    for name in ("csv", "mlflow"):
        monkeypatch.setitem(loggers.LOGGERS, name, f"{__name__}.Hanging")
    assert detached.PATIENCE_WHEN_STOPPED <= 10, "all is to be saved within 25 s"
    monkeypatch.setattr(detached, "PATIENCE_WHEN_STOPPED", 1.0)
    recorder = detached.LoggersRecorder(["csv", "mlflow"], Reporter(quiet=False))
    recorder.run_starts(RunStart(experiment(*TINY), tmp_path, epochs=2, steps_per_epoch=3))
    recorder.epoch_ends(EpochEnd(1, 3, {"val": {"accuracy": 0.5}}))
    while not all(thread._works for thread in recorder._threads):
        time.sleep(0.01)
    began = time.perf_counter()
    recorder.run_ends(RunEnd(tmp_path, {"status": "preempted"}))
    assert 0.9 < time.perf_counter() - began < 1.9
    Hanging.released.set()
    assert capsys.readouterr().out.count("it does not answer") == 2


@pytest.mark.parametrize("name", ["what?", "b%61d"])
def test_a_folder_that_mlflow_has_no_address_for_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="its address cannot hold a question mark, or a percent sign before two"):
        mlflow_store._database(Run(tmp_path / name / "runs/a", {}, first_step=0))
    assert [*tmp_path.rglob("*")] == [tmp_path / name]


def test_only_finite_scores_are_logged_and_no_settings() -> None:
    event = {"split": "val", "step": 3, "epoch": 1, "accuracy": 0.5, "loss": math.inf, "lr": 0.1, "seed": 0}
    assert detached._of_event(event) == {"val/accuracy": 0.5}


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
