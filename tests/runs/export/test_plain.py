"""Weights that the libraries themselves load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from transfer_cli.config.commands import ExportCommand
from transfer_cli.engine.devices.device import Compute
from transfer_cli.models import backbones
from transfer_cli.models.heads import OWN_HEAD, HeadSpec
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.runs.export.plain import STATE, open_timm, write_timm
from transfer_cli.runs.export.subject import Subject
from transfer_cli.runs.saved_model import Description, Trained


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_model_that_asks_for_versions_loads_its_file(tmp_path: Path) -> None:
    """torchvision's MNASNet, which refuses tensors without them."""
    network = backbones.build("mnasnet0_5", "torchvision", 3, 32)
    preprocessing = Preprocessing(32, 32, "bilinear", (0.5,) * 3, (0.5,) * 3)
    head = HeadSpec(OWN_HEAD)
    about = Description("mnasnet0_5", "torchvision", ("a", "b", "c"), preprocessing, "fp32", head)
    trained = Trained(network, about, Compute(torch.device("cpu"), "fp32"))
    subject = Subject(tmp_path, trained, ExportCommand(), "timm")
    write_timm(subject, tmp_path)
    assert (tmp_path / STATE).is_file()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images).numpy()
    assert np.array_equal(open_timm(subject, tmp_path, 1)(images.numpy()), expected)
