"""No step on a GPU makes the host wait for it: found without one, from the operations that each step asks for."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from tests.conftest import TINY, experiment
from tests.fake_gpu import GPU, fake_gpu, move
from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.evaluation import evaluate
from transfer_cli.engine.loop import Cursor, train_epoch
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.totals import Totals
from transfer_cli.methods.averaging import Average
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.train import PREPARE

QUIET = Reporter(quiet=True, prints_result=False)
SHORT = ["trainer.workers=1", "trainer.epochs=1", "trainer.batch_size=8", "tune=off", "optimizer.lr=0.01"]
TAUGHT = [
    *("strategy=distill", "strategy.teacher.model=test_resnet", "strategy.teacher.source=timm"),
    *("strategy.teacher.weights=none", "strategy.teacher.allow_chance=true", "strategy.use_teacher=true"),
]
TERMS = [f"strategy.loss.{name}=1" for name in ("ce", "kd", "dkd", "dist", "hint", "attention", "rkd", "crd")]


def waits(*words: str) -> set[tuple[str, str]]:
    """What makes the host wait in the steps of an epoch after the first two, which allocate."""
    e = experiment(*TINY, *SHORT, *words)
    made = PREPARE[e.strategy.name](e, QUIET, Stop(), None)
    assert isinstance(made, LoopJob)
    made.inputs.compute()
    with fake_gpu(lambda: (p for group in made.groups for p in group.parameters.values())) as audit:
        job = _on_gpu(made)
        strategy = job.start(job, None, QUIET, Stop()).strategy
        average = Average(job.network.module, job.average_decay) if job.average_decay else None
        trainer = job.build_trainer(strategy, lambda step: 0.1, average, QUIET)
        totals = Totals.zeros(job.materials.task, GPU)
        batches = job.inputs.shuffled(e.trainer.batch_size).epoch(0)
        steps = train_epoch(trainer, batches, Cursor(), totals)
        assert len(list(islice(steps, 2))) == 2
        audit.found.clear()
        assert len(list(islice(steps, 2))) == 2
        return set(audit.found)


def _on_gpu(job: LoopJob) -> LoopJob:
    """The same job as if it had been prepared for a GPU."""
    names = [dict.fromkeys(group.parameters, 0) for group in job.groups]
    for module in (job.network.module, *job.learnt.values()):
        move(module)
    own = dict(job.network.module.named_parameters())
    for module in job.learnt.values():
        own |= dict(module.named_parameters())
    groups = [replace(g, parameters={n: own[n] for n in found}) for g, found in zip(job.groups, names, strict=True)]
    materials = _materials(job.materials)
    inputs = job.inputs
    if hasattr(inputs, "pixels"):
        teachers = tuple(replace(one, materials=_materials(one.materials)) for one in inputs.teachers)
        inputs = replace(inputs, pixels=replace(inputs.pixels, materials=materials), teachers=teachers)
    else:
        inputs = replace(inputs, materials=materials)
    job.groups[:] = groups
    return replace(job, compute=Compute(GPU, "fp32"), materials=materials, inputs=inputs)


def _materials(m: Materials) -> Materials:
    return replace(m, machine=replace(m.machine, device=GPU))


ALL_AT_ONCE = [
    *("trainer.clip_grad=1", "strategy.ema=0.9", "strategy.sam=0.05", "augment=standard", "augment.mixup=0.2"),
    *("augment.cutmix=1", "strategy.l2sp.alpha=0.1", "strategy.l2sp.beta=0.1"),
]
CASES = {
    "finetuned in every way": ALL_AT_ONCE,
    "cached prefix": ["strategy.unfreeze=1", "strategy.cache=true", "augment=none", "strategy.batch_norm=frozen"],
    "taught by every term": [*TAUGHT, *TERMS, "augment.views=1", "model.name=test_convnext", "strategy.negatives=8"],
}
MORE = {
    "plain": [],
    "average": ["strategy.ema=0.9"],
    "sharp": ["strategy.sam=0.05"],
    "near the start": ["strategy.l2sp.alpha=0.1", "strategy.l2sp.beta=0.1", "optimizer=sgd"],
    "mixing": ["augment.mixup=0.2", "trainer.clip_grad=1", "optimizer=adam"],
    "adapters": ["strategy.adapter=lora", "strategy.adapter_rank=2"],
    "accumulated": ["trainer.accumulate=2", "augment=strong"],
    "taught by logits": [*TAUGHT, "augment=none"],
}


@pytest.mark.parametrize("words", CASES.values(), ids=CASES)
def test_no_step_waits_for_the_gpu(words: list[str]) -> None:
    assert waits(*words) == set()


@pytest.mark.slow
@pytest.mark.parametrize("words", MORE.values(), ids=MORE)
def test_no_step_waits_for_the_gpu_however_it_trains(words: list[str]) -> None:
    assert waits(*words) == set()


def test_an_optimizer_without_one_kernel_for_all_waits_once_a_step() -> None:
    """Today's way; it also shows that the audit sees what waits."""
    assert {operation for operation, _ in waits("optimizer=lion")} == {"aten._local_scalar_dense.default"}


@pytest.mark.parametrize(
    "prefix",
    [[], pytest.param(["strategy.unfreeze=1", "strategy.cache=true", "augment.views=1"], marks=pytest.mark.slow)],
)
def test_evaluation_has_the_next_batch_under_way_and_reads_its_scores_at_the_end(
    prefix: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is what makes scores of the sums; a batch is on its way before the one before has been counted."""
    made = PREPARE["finetune"](experiment(*TINY, *SHORT, *prefix), QUIET, Stop(), None)
    made.inputs.compute()
    with fake_gpu(lambda: iter(())) as audit:
        job = _on_gpu(made)
        task, batches, place = job.materials.task, job.inputs.ordered("val", 2), job.inputs.to_device
        order: list[str] = []
        sums = task.sums(GPU)
        add = sums.add

        def counted(*batch: torch.Tensor) -> None:
            order.append("counted")
            add(*batch)

        def placed(batch: Batch) -> Batch:
            order.append("sent")
            return place(batch)

        # Fake tensors do not know it.
        monkeypatch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad())
        monkeypatch.setattr(sums, "add", counted)
        monkeypatch.setattr(sums, "scores", dict)
        monkeypatch.setattr(type(task), "sums", lambda *_: sums)
        audit.found.clear()
        evaluate(job.network, batches, task, job.compute, placed, Stop())
        assert order == ["sent", "sent", *["counted", "sent"] * (order.count("sent") - 2), "counted", "counted"]
        assert len(order) > 4
        assert audit.found == []


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("words", [*CASES.values(), *MORE.values()], ids=[*CASES, *MORE])
def test_a_real_gpu_is_not_waited_for_either(words: list[str]) -> None:
    """Torch raises where an operation would wait; reading a ring of events is none.

    Pixels stay on the host: the thread that cuts views on a GPU waits, for its own stream.
    """
    e = experiment(*TINY, *SHORT, "trainer.epochs=4", "dataset.store=ram", *words, "trainer.device=cuda")
    job = PREPARE[e.strategy.name](e, QUIET, Stop(), None)
    assert isinstance(job, LoopJob)
    strategy = job.begin(None, QUIET, Stop()).strategy
    average = Average(job.network.module, job.average_decay) if job.average_decay else None
    trainer = job.build_trainer(strategy, lambda step: 0.001, average, QUIET)
    batches, cursor = job.inputs.shuffled(e.trainer.batch_size), Cursor()
    totals = Totals.zeros(job.materials.task, job.compute.device)
    list(train_epoch(trainer, batches.epoch(0), cursor, totals))
    steps = train_epoch(trainer, batches.epoch(1), cursor, totals)
    try:
        torch.cuda.set_sync_debug_mode("error")
        assert len(list(islice(steps, batches.steps_per_epoch - 1))) == batches.steps_per_epoch - 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    trainer.settle()
    assert len(trainer.last_losses) == 5
