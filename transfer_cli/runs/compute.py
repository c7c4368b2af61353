"""On what, and at which precision, a network trains; and what cannot train, found before hours of decoding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from transfer_cli.config.auto import AUTO
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.loop import NO_SINGLE
from transfer_cli.engine.measured.precision import Looked, choose_precision, time_training, training_work
from transfer_cli.engine.state_files import State
from transfer_cli.engine.strategy import ParameterGroup, Strategy
from transfer_cli.errors import UserError
from transfer_cli.models.network import Network
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.parameters import in_a_line
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.machine import say_device
from transfer_cli.runs.materials import Materials, Plan
from transfer_cli.runs.pretrained import parameter_counts
from transfer_cli.runs.states.parts import saved_precision
from transfer_cli.strategies.groups import rows


def choose_training_compute(
    m: Materials,
    strategy: Strategy,
    loaded: LoadReport,
    groups: list[ParameterGroup],
    state: State | None,
    reporter: Reporter,
    look: Callable[[], Looked] | None = None,
) -> Compute:
    """Device and precision, by what the last epoch trains; says model, rates and device in a line each.

    `look` is for a strategy that does not train on batches of images alone.
    """
    e, network = m.experiment, strategy.network
    size, last = m.preprocessing.crop_pixels, m.plan.last_epoch
    strategy.train_mode(last)
    total, trainable = parameter_counts(network)
    reporter.say(f"model     {e.model.name}: {loaded.label}, {size} px, {trainable:,} of {total:,} parameters train")
    if network.note is not None:
        reporter.warn(network.note)
    reporter.say(f"rates     {in_a_line(rows(network, groups, e.optimizer))}")
    wanted = e.trainer.precision if state is None else saved_precision(state)
    work = training_work(strategy, size)
    look = look or partial(time_training, strategy, size, last)
    chosen, reason = choose_precision(wanted, m.device, m.machine.precisions, work, look)
    say_device(m.device, reason, reporter)
    return Compute(m.device, chosen)


def check_validation(e: Experiment, images: ImageSet) -> None:
    """Raises UserError where something looks at validation and there is none."""
    if len(images.splits["val"]):
        return
    waits = e.trainer.patience not in (None, AUTO)
    for key, wants in (("scheduler=plateau", e.scheduler.name == "plateau"), ("trainer.patience", waits)):
        if wants:
            raise UserError(f"{key} needs validation images, and there are none: see dataset.val_fraction.")


def check_batch_of_one(e: Experiment, strategy: Strategy, plan: Plan, image_size: int) -> None:
    """Raises UserError for a network that cannot train on one image at a time, where that is asked for."""
    if e.trainer.batch_size == 1:
        strategy.train_mode(plan.last_epoch)
        _try_single(strategy.network, image_size)


def _try_single(network: Network, size: int) -> None:
    generator = torch.get_rng_state()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        with torch.no_grad():
            network(torch.zeros(1, network.channels, size, size, device=next(network.parameters()).device))
    except ValueError as error:
        raise UserError(NO_SINGLE) from error
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    torch.set_rng_state(generator)
