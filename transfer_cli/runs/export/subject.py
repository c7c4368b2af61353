"""What is exported: the network of a run in fp32 on the host, and what its program takes.

Legend: N images, C channels, K classes, S pixels of a side.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transfer_cli.config.commands import ExportCommand
from transfer_cli.config.schema import Experiment
from transfer_cli.config.using import export_format
from transfer_cli.data.batches import unlabelled
from transfer_cli.engine.evaluation import BATCH_SIZE, predict
from transfer_cli.engine.stop import Stop
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.runs.saved_model import Description, Trained, load_trained

INPUT, OUTPUT = "images", "logits"

Runner = Callable[[NDArray[np.generic]], NDArray[np.float32]]
"""An exported model as its own library runs it: inputs [N, ...] to logits [N, K]."""


class Baked(nn.Module):
    """A network behind the arithmetic of its preprocessing: uint8 pixels to logits."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, channels_last: bool) -> None:
        super().__init__()
        self.network, self.channels_last = network, channels_last
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of uint8 [N, S, S, C], or [N, C, S, S] without `channels_last`."""
        pixels = images.permute(0, 3, 1, 2) if self.channels_last else images
        logits: Tensor = self.network((pixels.float() / 255 - self.mean) / self.std)
        return logits


@dataclass(frozen=True)
class Subject:
    """A trained network, and how it is to be exported."""

    run: Path
    trained: Trained
    command: ExportCommand
    format: str
    """Of the file, by its name in the table of formats."""

    @property
    def about(self) -> Description:
        """What the run says of the network."""
        return self.trained.about

    @property
    def module(self) -> nn.Module:
        """What is traced: the network, with its preprocessing where that is asked for."""
        network = copy.deepcopy(self.trained.network).to(memory_format=torch.contiguous_format)
        if not self.command.preprocessing:
            return network
        return Baked(network, self.about.preprocessing, self.command.layout == "nhwc").eval()

    def inputs(self, pixels: Tensor) -> NDArray[np.generic]:
        """What the exported model takes of uint8 pixels [N, C, S, S]."""
        if not self.command.preprocessing:
            found: NDArray[np.generic] = self.trained.to_device(unlabelled(pixels)).inputs.contiguous().numpy()
            return found
        return np.ascontiguousarray(pixels.permute(0, 2, 3, 1) if self.command.layout == "nhwc" else pixels)

    def logits(self, pixels: Tensor) -> NDArray[np.float32]:
        """[N, K], as mode=evaluate and mode=predict compute them."""
        size = BATCH_SIZE["cpu"]
        batches = [unlabelled(pixels[first : first + size]) for first in range(0, len(pixels), size)]
        found = predict(self.trained.network, batches, self.trained.compute, self.trained.to_device, Stop())
        assert found is not None
        return found[0]


def on_threads(module: nn.Module, threads: int) -> Runner:
    """A module as torch computes it on so many threads, as all that torch computes from here on."""
    torch.set_num_threads(threads)

    def run(images: NDArray[np.generic]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
        return logits

    return run


def load_subject(run: Path, e: Experiment) -> Subject:
    """The trained network of a run. Raises UserError for a damaged run directory."""
    on_host = replace(e, trainer=replace(e.trainer, device="cpu", precision="fp32"))
    trained = load_trained(run, on_host)
    trained.network.requires_grad_(False)
    return Subject(run, trained, e.export, export_format(e))
