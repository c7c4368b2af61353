"""Ways to adapt a pretrained network to few images: digits at some shots a class, over seeds, in one table.

    python -m tests.benchmarks.shots                    all of it, 70 runs
    python -m tests.benchmarks.shots --shots 10 --seeds 2

Goes on where it was stopped: finished runs under outputs/shots are not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from transfer_cli.cli import main as transfer_run

STEPS = 240
COMMON = ["dataset=digits", "image_size=32", "model=efficientnet_lite0", "trainer.device=cpu", "quiet=true"]
FINETUNE = ["strategy=finetune", "augment=light", f"trainer.steps={STEPS}"]
# A few images of 32 pixels say little about statistics: the pretrained ones stay.
PRETRAINED = [*FINETUNE, "strategy.batch_norm=frozen"]
L2SP = ["strategy.l2sp.alpha=0.001", "strategy.l2sp.beta=0.01", "optimizer.weight_decay=0"]

METHODS: dict[str, list[str]] = {
    "scratch": [*FINETUNE, "model.weights=none"],
    "probe": ["strategy=extract", "trainer.epochs=100"],
    "head only": [*PRETRAINED, "strategy.unfreeze=head", "augment=none"],
    "LP-FT": [*PRETRAINED, "strategy.head_first=100", "strategy.layer_decay=0.8", "optimizer.lr=3e-4"],
    "full": [*PRETRAINED, "strategy.layer_decay=0.8"],
    "L2-SP": [
        *PRETRAINED,
        "optimizer.lr=5e-4",
        "strategy.l2sp.alpha=0.001",
        "strategy.l2sp.beta=0.01",
        "optimizer.weight_decay=0",
    ],
    "LoRA": [*PRETRAINED, "strategy.adapter=lora", "optimizer.lr=5e-3"],
}


def accuracy(method: str, shots: int, seed: int, folder: Path) -> float:
    """Test accuracy of one run; trains it if no run before has."""
    name = f"{method.lower().replace(' ', '_')}_{shots}_{seed}"
    words = [*COMMON, *METHODS[method], f"dataset.shots={shots}", f"seed={seed}"]
    code = transfer_run([*words, f"name={name}", f"output_dir={folder}", "resume=auto"])
    if code != 0:
        sys.exit(code)
    return float(json.loads((folder / "runs" / name / "summary.json").read_text())["test"]["accuracy"])


def table(found: dict[tuple[str, int], list[float]], shots: list[int]) -> str:
    """Mean and deviation in per cent, a row a method."""
    lines = [f"| method | {' | '.join(f'{count} shots' for count in shots)} |", f"| --- |{' --- |' * len(shots)}"]
    for method in METHODS:
        cells = []
        for count in shots:
            values = [100 * value for value in found[method, count]]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("outputs/shots"))
    args = parser.parse_args()
    found = {
        (method, shots): [accuracy(method, shots, seed, args.folder) for seed in range(args.seeds)]
        for shots in args.shots
        for method in METHODS
    }
    print(table(found, args.shots))


if __name__ == "__main__":
    main()
