"""Ways to adapt a pretrained network to few images: digits at some shots a class, over seeds, in one table.

    python -m tests.benchmarks.shots                    all of it, 130 runs
    python -m tests.benchmarks.shots --shots 10 --seeds 2

Each method's learning rate is the one with the best validation accuracy at seed 0; the table is of test accuracy at
the seeds after it. Goes on where it was stopped: finished runs under outputs/shots are not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from transfer_cli.cli import main as transfer_run

STEPS = 240
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
COMMON = ["dataset=digits", "image_size=32", "model=efficientnet_lite0", "trainer.device=cpu", "quiet=true"]
FINETUNE = ["strategy=finetune", "augment=light", f"trainer.steps={STEPS}"]
# A few images of 32 pixels say little about statistics: the pretrained ones stay.
PRETRAINED = [*FINETUNE, "strategy.batch_norm=frozen"]
L2SP = ["strategy.l2sp.alpha=0.001", "strategy.l2sp.beta=0.01", "optimizer.weight_decay=0"]

TRAINED: dict[str, list[str]] = {
    "scratch": [*FINETUNE, "model.weights=none"],
    "head only": [*PRETRAINED, "strategy.unfreeze=head", "augment=none"],
    "LP-FT": [*PRETRAINED, "strategy.head_first=100", "strategy.layer_decay=0.8"],
    "full": [*PRETRAINED, "strategy.layer_decay=0.8"],
    "L2-SP": [*PRETRAINED, *L2SP],
    "LoRA": [*PRETRAINED, "strategy.adapter=lora"],
}
"""Methods that have a learning rate."""
FITTED: dict[str, list[str]] = {"probe": ["strategy=extract", "trainer.epochs=100"]}
"""Methods that choose for themselves on validation."""


def accuracy(words: list[str], name: str, split: str, folder: Path) -> float:
    """Accuracy of one run; trains it if no run before has."""
    code = transfer_run([*COMMON, *words, f"name={name}", f"output_dir={folder}", "resume=auto"])
    if code != 0:
        sys.exit(code)
    return float(json.loads((folder / "runs" / name / "summary.json").read_text())[split]["accuracy"])


def best_rate(method: str, shots: int, folder: Path) -> float:
    """By validation accuracy at seed 0; the lower one of equals."""
    words = [*TRAINED[method], f"dataset.shots={shots}", "seed=0"]
    found = {
        rate: accuracy([*words, f"optimizer.lr={rate}"], f"{slug(method)}_{shots}_rate_{rate:g}", "val", folder)
        for rate in RATES
    }
    return max(found, key=lambda rate: found[rate])


def tested(method: str, shots: int, seeds: int, folder: Path) -> tuple[list[float], float | None]:
    """Test accuracies at seeds 1 to `seeds`, and the learning rate."""
    rate = best_rate(method, shots, folder) if method in TRAINED else None
    words = FITTED[method] if rate is None else [*TRAINED[method], f"optimizer.lr={rate}"]
    values = [
        accuracy([*words, f"dataset.shots={shots}", f"seed={seed}"], f"{slug(method)}_{shots}_{seed}", "test", folder)
        for seed in range(1, seeds + 1)
    ]
    return values, rate


def slug(method: str) -> str:
    """A run's name of a method's."""
    return method.lower().replace(" ", "_")


def cell(values: list[float], rate: float | None) -> str:
    """Mean and deviation in per cent, and the learning rate."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    text = f"{100 * statistics.mean(values):.1f} ± {100 * spread:.1f}"
    return text if rate is None else f"{text} ({rate:g})"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("outputs/shots"))
    args = parser.parse_args()
    lines = [
        f"| method | {' | '.join(f'{count} shots' for count in args.shots)} |",
        "| --- |" + " --- |" * len(args.shots),
    ]
    for method in ["scratch", *FITTED, *list(TRAINED)[1:]]:
        cells = [cell(*tested(method, count, args.seeds, args.folder)) for count in args.shots]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
