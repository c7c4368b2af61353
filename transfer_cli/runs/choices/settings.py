"""What a run chooses for itself where its settings say auto: plain numbers in place of it, said with their reason."""

from __future__ import annotations

from dataclasses import replace

from transfer_cli.config.auto import AUTO, chosen
from transfer_cli.config.extract import Extract
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.models.families import family_of
from transfer_cli.models.network import Network
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.terminal import Reporter
from transfer_cli.strategies import rules
from transfer_cli.strategies.rules import Choice, Situation


def with_length(e: Experiment, images: ImageSet, reporter: Reporter) -> Experiment:
    """`trainer.epochs`, `trainer.evaluate_every` and `trainer.patience` as numbers."""
    trainer, train, val = e.trainer, len(images.splits["train"]), len(images.splits["val"])
    by_rule = trainer.epochs == AUTO and trainer.steps is None and val > 0 and e.scheduler.name != "plateau"
    if trainer.epochs == AUTO:
        found = rules.epochs(train, trainer.step_images)
        if trainer.steps is None:
            say("trainer.epochs", found, reporter)
        trainer = replace(trainer, epochs=found.value)
    if trainer.evaluate_every == AUTO:
        waits = trainer.patience not in (None, AUTO) or e.scheduler.name == "plateau"
        every = Choice(1, "") if waits else rules.evaluate_every(train, val)
        if every.value > 1:
            say("trainer.evaluate_every", every, reporter)
        trainer = replace(trainer, evaluate_every=every.value)
    if trainer.patience == AUTO:
        waited = rules.patience(chosen(trainer.epochs)) if by_rule else None
        if waited is not None:
            say("trainer.patience", waited, reporter)
        trainer = replace(trainer, patience=None if waited is None else waited.value)
    return replace(e, trainer=trainer)


def with_rate(e: Experiment, situation: Situation, reporter: Reporter, statistics: str = "train") -> Experiment:
    """`optimizer.lr` as a number; `statistics` are those that BatchNorm trains with."""
    if e.optimizer.lr != AUTO:
        return e
    found = rules.rate(situation, statistics)
    say("optimizer.lr", found, reporter)
    return replace(e, optimizer=replace(e.optimizer, lr=found.value))


def with_finetuning(
    e: Experiment, network: Network, loaded: LoadReport, images: ImageSet, reporter: Reporter, *, can_probe: bool
) -> Experiment:
    """BatchNorm's mode, the head's start, layer decay and rate; `can_probe`: a head can be fitted to the features."""
    config = e.strategy
    assert isinstance(config, Finetune)
    situation = replace(situation_of(e, network, loaded, images), can_probe=can_probe)
    if config.batch_norm == AUTO:
        statistics = rules.batch_norm(situation)
        if statistics.reason:
            say("strategy.batch_norm", statistics, reporter)
        config = replace(config, batch_norm=statistics.value)
    if config.head_init == AUTO and config.head_first:
        config = replace(config, head_init="zero")
    elif config.head_init == AUTO:
        start = rules.head_init(situation, config.batch_norm)
        say("strategy.head_init", start, reporter)
        config = replace(config, head_init=start.value)
    if config.layer_decay == AUTO:
        decay = rules.layer_decay(situation)
        if decay.value != 1:
            say("strategy.layer_decay", decay, reporter)
        config = replace(config, layer_decay=decay.value)
    if config.ema == AUTO:
        average = rules.average(situation)
        if average.value:
            say("strategy.ema", average, reporter)
        config = replace(config, ema=average.value)
    if config.wise_ft == AUTO:
        mixes = rules.wise_ft(situation, keeps_probe=config.keep_probe is True)
        if mixes.value:
            say("strategy.wise_ft", mixes, reporter)
        config = replace(config, wise_ft=mixes.value)
    return with_rate(replace(e, strategy=config), situation, reporter, config.batch_norm)


def situation_of(e: Experiment, network: Network, loaded: LoadReport, images: ImageSet) -> Situation:
    """What the rules look at."""
    config = e.strategy
    return Situation(
        family=family_of(network),
        pretrained=loaded.sha256 is not None,
        images=len(images.splits["train"]),
        step=e.trainer.step_images,
        optimizer=e.optimizer.name,
        adapter=config.adapter if isinstance(config, Finetune) else "none",
        head_only=isinstance(config, Finetune) and config.unfreeze == "head",
    )


def say(key: str, found: Choice[object], reporter: Reporter) -> None:
    """One line: what was chosen, and why."""
    value = f"{found.value:g}" if isinstance(found.value, float) else str(found.value).lower()
    reporter.say(f"auto      {key}={value}: {found.reason}")


def for_heads(e: Experiment, images: ImageSet, reporter: Reporter) -> Experiment:
    """Solver, rate and epochs as plain values for heads on frozen features."""
    config = e.strategy
    assert isinstance(config, Extract)
    if config.solver == AUTO:
        found = rules.solver(e, len(images.splits["train"]), len(images.splits["val"]))
        if images.classes:
            say("strategy.solver", found, reporter)
        e = replace(e, strategy=replace(config, solver=found.value))
    lr = float(f"{rules.HEAD_RATE * rules.OPTIMIZERS[e.optimizer.name]:.2g}")
    optimizer = replace(e.optimizer, lr=lr) if e.optimizer.lr == AUTO else e.optimizer
    epochs = rules.HEAD_EPOCHS if e.trainer.epochs == AUTO else e.trainer.epochs
    every = 1 if e.trainer.evaluate_every == AUTO else e.trainer.evaluate_every
    batch = rules.HEAD_BATCH if e.trainer.batch_size == AUTO else e.trainer.batch_size
    trainer = replace(e.trainer, epochs=epochs, evaluate_every=every, batch_size=batch, patience=None)
    return replace(e, optimizer=optimizer, trainer=trainer)
