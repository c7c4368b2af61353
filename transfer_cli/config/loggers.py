"""The loggers by name, each a class in transfer_cli/records/loggers/, and what it needs besides."""

from __future__ import annotations

_FOLDER = "transfer_cli.records.loggers"

LOGGERS: dict[str, str] = {
    "csv": f"{_FOLDER}.csv_table.CsvLogger",
    "tensorboard": f"{_FOLDER}.tensorboard_events.TensorBoardLogger",
    "mlflow": f"{_FOLDER}.mlflow_store.MlflowLogger",
    "wandb": f"{_FOLDER}.wandb_run.WandbLogger",
}
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""The module that a logger imports; the extra to install it with has its name."""
