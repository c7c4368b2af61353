"""Options that only the code behind them knows, checked before anything is loaded or the first job of a sweep runs."""

from __future__ import annotations

from transfer_cli.config.distill import Distill
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment
from transfer_cli.methods.distill.distillation import check_terms
from transfer_cli.strategies.regularizers import chosen_regularizers


def check_options(e: Experiment) -> None:
    """Raises UserError naming every wrong regulariser of a finetuning, or term of a distillation."""
    config = e.strategy
    if isinstance(config, Finetune):
        chosen_regularizers(config.regularizers)
    if isinstance(config, Distill):
        check_terms(config.loss, labelled=e.dataset.labels == "classes", pairs=config.pairs is not None)
        chosen_regularizers(config.adapt.regularizers, "strategy.adapt")


def check_far_off(e: Experiment) -> None:
    """As `check_options`, and the network's name: for a training that starts elsewhere, or days later."""
    from transfer_cli.models.backbones import library

    check_options(e)
    library(e.model.name, e.model.source)


def terms_of_batches(e: Experiment) -> list[str]:
    """Keys of what compares the images of a batch with each other, so that it matters which are together."""
    config = e.strategy
    if isinstance(config, Finetune):
        chosen = chosen_regularizers(config.regularizers)
        return ["strategy.bss"] if "bss" in chosen.options else []
    terms = config.terms if isinstance(config, Distill) else {}
    return [f"strategy.loss.{name}" for name in ("dist", "rkd") if terms.get(name)]
