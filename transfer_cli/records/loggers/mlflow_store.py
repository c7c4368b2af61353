"""logger=mlflow: parameters, metrics and files of a run in MLflow, the jobs of a sweep below a run of their own.

The server is that of MLFLOW_TRACKING_URI; without one a database in the output folder, `outputs/mlflow.db`. Through the
client alone: the functions of the module keep one run for the whole process.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from filelock import FileLock

from transfer_cli.files import atomic_write_text
from transfer_cli.records.loggers.logger import Run

_NAME = "mlflow"
_EXPERIMENT = "transfer-run"
_PARENT = ".mlflow_parent"
_AT_ONCE = 90
_LONGEST_VALUE = 500
_STATES = {"completed": "FINISHED", "failed": "FAILED"}
# A server that is gone is given up soon; by default its client tries for minutes.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MlflowLogger:
    """One run there for a run here; a resumed one goes on."""

    def __init__(self) -> None:
        self._client: Any = None
        self._id = ""

    @property
    def remote(self) -> bool:
        """Whether a server is named."""
        return os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http")

    def begins(self, run: Run) -> bool:
        """Create the run there with all settings as parameters, or find it again."""
        for name, value in _IMPATIENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        # Of how it makes its tables, whatever the level of others.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or _database(run))
        known = run.id_of(_NAME)
        if known is not None:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            return False
        experiment = _experiment(self._client, run)
        tags = {"mlflow.runName": run.name}
        if run.sweep is not None:
            tags["mlflow.parentRunId"] = _parent(self._client, experiment, run.sweep)
        self._id = str(self._client.create_run(experiment, tags=tags, run_name=run.name).info.run_id)
        run.keep_id(_NAME, self._id)
        self._log_settings(run.settings)
        return True

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Each as a metric."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = {**values, "epoch": float(epoch)}
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in found.items()])

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        """The final scores and the files; the run there gets its status."""
        if summary:
            self.scores(0, 0, {f"result/{name}": value for name, value in summary.items()})
        for path in run.artifacts():
            self._client.log_artifact(self._id, str(path), "plots" if path.suffix == ".png" else None)
        self._client.set_terminated(self._id, _STATES.get(status, "KILLED"))
        if run.sweep is not None:
            self._client.set_terminated((run.sweep / _PARENT).read_text(encoding="utf-8"), "FINISHED")

    def _log_settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:_LONGEST_VALUE]) for key, value in settings.items()]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(self._id, params=params[start : start + _AT_ONCE])


def _database(run: Run) -> str:
    """The address of a database of our own, with its tables: half made, after a kill, it would never be of use."""
    file = run.output_dir.absolute() / "mlflow.db"
    if "?" in str(file) or unquote(str(file)) != str(file):
        # In the address of a database the one ends the path, the other is a character: it would be another file.
        raise ValueError(
            f"{file}: its address cannot hold a question mark, or a percent sign before two digits; name a server by "
            "MLFLOW_TRACKING_URI"
        )
    from mlflow import MlflowClient

    with FileLock(run.output_dir / ".mlflow.lock"):
        if not file.exists():
            begun = file.with_name(".mlflow.db.writing")
            begun.unlink(missing_ok=True)
            MlflowClient(tracking_uri=f"sqlite:///{begun}").search_experiments()
            begun.replace(file)
    return f"sqlite:///{file}"


def _experiment(client: Any, run: Run) -> str:
    """The id of the experiment for runs of this program; of several that begin at once one creates it."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    place = None if os.environ.get("MLFLOW_TRACKING_URI") else (run.output_dir.absolute() / "mlflow").as_uri()
    with FileLock(run.output_dir / ".mlflow.lock"):
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name, artifact_location=place))


def _parent(client: Any, experiment: str, sweep: Path) -> str:
    """The id of the run that stands for a sweep."""
    file = sweep / _PARENT
    with FileLock(sweep / f"{_PARENT}.lock"):
        if not file.is_file():
            created = client.create_run(experiment, tags={"mlflow.runName": sweep.name}, run_name=sweep.name)
            atomic_write_text(file, str(created.info.run_id))
        return file.read_text(encoding="utf-8")
