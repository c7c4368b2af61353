"""The same training as a plain loop of torch, and the most memory that it needed.

python -m tests.benchmarks.training.plain '<setting>'
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.benchmarks.training.pieces import Setting
from tests.benchmarks.training.turns import Asked


def main() -> None:
    """Train, validate after each epoch, and say how many bytes were resident at most; those of workers are not here."""
    asked, setting = Asked(), Setting.read(sys.argv[1])
    (train, val, *_), classes = setting.loaders()
    module = setting.network(classes)
    optimizer = setting.optimizer(module)
    right = 0
    for _ in range(setting.epochs):
        module.train()
        for images, labels in train:
            optimizer.zero_grad()
            setting.loss(module, images, labels).backward()
            optimizer.step()
        module.eval()
        with torch.no_grad():
            right = sum(int((module(images).argmax(1) == labels).sum()) for images, labels in val)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    asked.tell({"peak": peak, "accuracy": right / setting.held_out})


if __name__ == "__main__":
    main()
