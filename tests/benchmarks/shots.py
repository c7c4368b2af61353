"""Ways to adapt a pretrained network to few images: digits at some shots a class, over seeds, in one table.

    python -m tests.benchmarks.shots                    all of it, 190 runs
    python -m tests.benchmarks.shots --shots 10 --seeds 2

Each method's learning rate is chosen by validation accuracy alone: the two best at seed 0, and of these the better one
on average over the seeds after it. The table is of test accuracy at those seeds, with the rate. Goes on where it was
stopped: finished runs under outputs/shots are not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.cli import main as transfer_run

STEPS = 240
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
COMMON = [
    *("dataset=digits", "image_size=32", "image_fit=crop", "model=efficientnet_lite0", "trainer.device=cpu"),
    *("tune=off", "quiet=true"),
]
# The methods as such: nothing is chosen by the program, and heads start as the model draws them.
FINETUNE = [
    *("strategy=finetune", "augment=light", f"trainer.steps={STEPS}"),
    *("strategy.head_init=model", "strategy.keep_probe=false", "strategy.layer_decay=1"),
]
# A few images of 32 pixels say little about statistics: the pretrained ones stay.
PRETRAINED = [*FINETUNE, "strategy.batch_norm=frozen"]
L2SP = ["strategy.l2sp.alpha=0.001", "strategy.l2sp.beta=0.01", "optimizer.weight_decay=0"]

TRAINED: dict[str, list[str]] = {
    "scratch": [*FINETUNE, "strategy.batch_norm=train", "model.weights=none"],
    "head only": [*PRETRAINED, "strategy.unfreeze=head", "augment=none"],
    "LP-FT": [*PRETRAINED, "strategy.head_first=100", "strategy.layer_decay=0.8"],
    "full": [*PRETRAINED, "strategy.layer_decay=0.8"],
    "L2-SP": [*PRETRAINED, *L2SP],
    "LoRA": [*PRETRAINED, "strategy.adapter=lora"],
}
"""Methods that have a learning rate."""
FITTED: dict[str, list[str]] = {"probe": ["strategy=extract", "strategy.solver=optimizer", "trainer.epochs=100"]}
"""Methods that choose for themselves on validation."""


Accuracies = dict[str, float]
"""By split."""


def run(words: list[str], name: str, folder: Path) -> Accuracies:
    """Accuracies of one run; trains it if no run before has."""
    code = transfer_run([*COMMON, *words, f"name={name}", f"output_dir={folder}", "resume=auto"])
    if code != 0:
        sys.exit(code)
    summary = json.loads((folder / "runs" / name / "summary.json").read_text())
    return {split: float(summary[split]["accuracy"]) for split in ("val", "test")}


@dataclass(frozen=True)
class Study:
    """Runs of one number of shots a class, in a folder of their own."""

    shots: int
    seeds: int
    folder: Path

    def fitted(self, method: str) -> list[Accuracies]:
        """At each seed from 1 on."""
        return [self._run(FITTED[method], method, seed) for seed in range(1, self.seeds + 1)]

    def trained(self, method: str) -> tuple[list[Accuracies], float]:
        """At each seed from 1 on, and the learning rate."""
        first = {rate: self._at(method, rate, 0)["val"] for rate in RATES}
        two = sorted(RATES, key=lambda rate: -first[rate])[:2]
        found = {rate: [self._at(method, rate, seed) for seed in range(1, self.seeds + 1)] for rate in two}
        rate = max(two, key=lambda rate: statistics.mean(one["val"] for one in found[rate]))
        return found[rate], rate

    def _at(self, method: str, rate: float, seed: int) -> Accuracies:
        return self._run([*TRAINED[method], f"optimizer.lr={rate}"], f"{method}_{rate:g}", seed)

    def _run(self, words: list[str], name: str, seed: int) -> Accuracies:
        name = f"{name.lower().replace(' ', '_')}_{self.shots}_{seed}"
        return run([*words, f"dataset.shots={self.shots}", f"seed={seed}"], name, self.folder)


def cell(found: list[Accuracies], rate: float | None) -> str:
    """Mean and deviation on test in per cent, and the learning rate."""
    values = [one["test"] for one in found]
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
    studies = [Study(count, args.seeds, args.folder) for count in args.shots]
    for method in ["scratch", *FITTED, *list(TRAINED)[1:]]:
        cells = [
            cell(study.fitted(method), None) if method in FITTED else cell(*study.trained(method)) for study in studies
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
