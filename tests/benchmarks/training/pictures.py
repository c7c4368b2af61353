"""Images that every loop of the benchmark reads, and weights that every one can start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from transfer_cli.models import backbones, weights


def write_digits(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Digits of this width and height, tinted and noisy, as JPEG files in a folder for each class; returns it."""
    random, digits = np.random.default_rng(0), load_digits()
    noise = random.normal(0, 6, (size[1], size[0], 3)).astype(np.float32)
    for number in range(count):
        at = number % len(digits.images)
        large = Image.fromarray((digits.images[at] * 15).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        tinted = np.asarray(large, dtype=np.float32)[..., None] * random.uniform(0.6, 1, 3).astype(np.float32)
        pixels = np.clip(tinted + np.roll(noise, random.integers(noise.size)), 0, 255).astype(np.uint8)
        of_class = folder / str(digits.target[at])
        of_class.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(of_class / f"{number}.jpg", quality=88)
    return folder


def write_lite0(file: Path) -> Path:
    """The weights of efficientnet_lite0 under timm's names, without a head; returns the file."""
    network = backbones.build("efficientnet_lite0", "auto", 10, 32)
    weights.load(network, weights.resolve("efficientnet_lite0", "auto", "auto"), 32)
    state = network.module.state_dict()
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("classifier")}, file)
    return file
