"""What each distillation term is worth to a small student with few labels: over seeds, in one table.

    python -m tests.benchmarks.lessons                                     digits
    python -m tests.benchmarks.lessons --images mnist --unlabelled mnist/train

The teacher is EfficientNet-Lite0 at 64 px, finetuned at each seed on all training images of that seed's split; students
of a ninth of its parameters start from random weights and see some shots of each class at 32 px. Goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from transfer_cli.cli import main as transfer_run

COMMON = ["trainer.device=cpu", "augment=light", "image_fit=crop", "optimizer.lr=0.002", "tune=off", "quiet=true"]
TEACHER = [*COMMON, "image_size=64", "strategy=finetune", "model=efficientnet_lite0", "trainer.steps=320"]
STUDENT = [*COMMON, "image_size=32", "model.name=test_resnet", "model.source=timm", "model.weights=none"]
ALONE = [*STUDENT, "strategy=finetune", "trainer.epochs=60"]
TAUGHT = [*STUDENT, "strategy=distill", "trainer.epochs=60", "augment.views=20"]

STUDENTS: dict[str, list[str]] = {
    "alone": ALONE,
    "kd": [*TAUGHT, "strategy.loss={ce:0.1,kd:0.9}"],
    "dkd": [*TAUGHT, "strategy.loss={ce:1,kd:0,dkd:1}"],
    "dist": [*TAUGHT, "strategy.loss={ce:1,kd:0,dist:1}"],
    "hint": [*TAUGHT, "strategy.loss={ce:1,kd:0,hint:100}"],
    "attention": [*TAUGHT, "strategy.loss={ce:1,kd:0,attention:1000}"],
}
"""Weights are the papers' orders of magnitude, none was tuned here."""
WITH_UNLABELLED = [
    *(*STUDENT, "strategy=distill", "trainer.epochs=10", "augment.views=2"),
    "strategy.loss={ce:0.1,kd:0.9}",
]


def accuracy(words: list[str], name: str, folder: Path) -> float:
    """Test accuracy of one run; trains it if no run before has."""
    code = transfer_run([*words, f"name={name}", f"output_dir={folder}", "resume=auto"])
    if code != 0:
        sys.exit(code)
    return float(json.loads((folder / "runs" / name / "summary.json").read_text())["test"]["accuracy"])


def row(title: str, values: list[float]) -> str:
    """Mean and deviation in per cent."""
    return f"| {title} | {100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f} |"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="a folder of images; digits where it is left out")
    parser.add_argument("--unlabelled", help="a folder of more images, whose labels are not looked at")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("outputs/lessons"))
    args = parser.parse_args()
    data = [f"dataset.path={args.images}", "dataset=folder"] if args.images else ["dataset=digits"]
    set_name = Path(args.images).name if args.images else "digits"
    students = dict(STUDENTS)
    if args.unlabelled:
        students["kd, with unlabelled images"] = [*WITH_UNLABELLED, f"dataset.unlabelled={args.unlabelled}"]
    found: dict[str, list[float]] = {"teacher, all labels": []} | {title: [] for title in students}
    for seed in range(args.seeds):
        own = [*data, f"seed={seed}"]
        teacher = f"{set_name}_teacher_{seed}"
        found["teacher, all labels"].append(accuracy([*TEACHER, *own], teacher, args.folder))
        taught_by = f"strategy.teacher.weights={args.folder / 'runs' / teacher}"
        for number, (title, words) in enumerate(students.items()):
            given = [] if words is ALONE else [taught_by]
            name = f"{set_name}_{args.shots}_{title.split(',')[0]}_{number}_{seed}"
            found[title].append(accuracy([*words, *own, f"dataset.shots={args.shots}", *given], name, args.folder))
    print(f"| {set_name}, {args.shots} shots | test accuracy |\n| --- | --- |")
    print("\n".join(row(title, values) for title, values in found.items()))


if __name__ == "__main__":
    main()
