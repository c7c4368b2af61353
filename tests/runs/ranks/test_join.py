"""What other ranks do for a student before its run directory is there, and at which precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, summary
from tests.gloo import on_ranks
from tests.runs.test_ranks import run, run_in_small_stripes
from transfer_cli.engine.ranks.world import World
from transfer_cli.errors import UserError
from transfer_cli.runs import compute
from transfer_cli.runs.distill import teacher
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.ranks import join

TAUGHT = [*TINY, "strategy=distill", "strategy.teacher.model=test_vit", "strategy.teacher.source=timm"]
TAUGHT += ["strategy.teacher.weights=none", "strategy.teacher.allow_chance=true", "strategy.use_teacher=true"]
TAUGHT += ["augment.views=1", "trainer.epochs=1", "tune=off"]


def test_teachers_look_at_validation_on_all_ranks(tmp_path: Path) -> None:
    """None begins a pass before each has come to one, and the first is over before anything is written."""
    for size in (1, 2):
        given = [*TAUGHT, f"cache_dir={tmp_path}/cache{size}", f"name=of{size}"]
        assert on_ranks(size, run_in_small_stripes, str(tmp_path), given)[0] == "completed"
    one, two = (summary(f"outputs/runs/of{size}") for size in (1, 2))
    assert one["teacher_images"] == two["teacher_images"] > 0
    assert one["teacher_val_accuracy"] == two["teacher_val_accuracy"]
    entries = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("rows.bin")} for root in tmp_path.glob("cache?")
    ]
    assert entries[0] == entries[1] and len(entries[0]) == 2


def run_of_two_minds(world: World, folder: str, words: list[str]) -> Any:
    """One run whose ranks would choose other precisions; those of the student and its teacher in each job made."""
    made: list[Any] = []
    prepared, of_student, of_teacher = join._prepared, *(("bf16", "fp32") if world.is_first else ("fp32", "bf16"))

    def chosen(precision: str) -> Any:
        return lambda wanted, *_: (precision if wanted == "auto" else wanted, "by rule")

    def noted(*arguments: Any) -> Any:
        job = prepared(*arguments)
        assert isinstance(job, LoopJob)
        made.append((job.precision, job.inputs.precisions))  # type: ignore[attr-defined]
        return job

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "choose_precision", chosen(of_student))
        patch.setattr(teacher, "choose_precision", chosen(of_teacher))
        patch.setattr(join, "_prepared", noted)
        ended = run(world, folder, words)
    return ended if world.is_first else made


def test_student_and_teacher_compute_on_each_rank_at_the_precisions_of_the_first(tmp_path: Path) -> None:
    words = [*TAUGHT, "trainer.precision=auto", "name=both"]
    # One job: what helped to prepare it is what trains.
    assert on_ranks(2, run_of_two_minds, str(tmp_path), words) == ["completed", [("bf16", ["fp32"])]]


def guesses(world: World, folder: str, words: list[str]) -> str:
    """How a rank ends whose teacher knows nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "verdict", lambda *_: "guesses")
        try:
            return str(run(world, folder, words))
        except UserError as error:
            return str(error)


@pytest.mark.slow
def test_of_a_teacher_that_guesses_the_first_tells_alone(tmp_path: Path) -> None:
    words = [word for word in TAUGHT if "allow_chance" not in word]
    first, other = on_ranks(2, guesses, str(tmp_path), [*words, "name=bad"])
    assert "no better than chance" in first and other == "None"
    assert not Path("outputs/runs/bad").exists()
