"""Many heads against torch's own training of one, against themselves alone, and against the clock of one by one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transfer_cli.methods.probes import linear_heads
from transfer_cli.methods.probes.linear_heads import ManyHeads
from transfer_cli.methods.probes.linear_layer import LinearLayer
from transfer_cli.methods.probes.row_optimizers import AdamW, RowOptimizer, Sgd

WIDTH = 48
RATES = [0.3, 0.1, 0.03, 0.01, 0.003]
DECAYS = [0.0, 0.1, 0.01, 0.3, 0.02]
SEEDS = [0, 0, 1, 2, 3]
ADAMW, SGD = AdamW(), Sgd()


def batches(classes: int, steps: int = 6, rows: int = 33) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(classes, WIDTH, generator=generator)
    labels = torch.randint(0, classes, (steps, rows), generator=generator)
    return [(centres[y] + torch.randn(rows, WIDTH, generator=generator), y) for y in labels]


def heads(
    classes: int,
    which: slice = slice(None),
    *,
    optimizer: RowOptimizer = ADAMW,
    hidden: int | None = None,
    smoothing: float = 0.1,
    device: str = "cpu",
) -> ManyHeads:
    return ManyHeads(
        WIDTH,
        classes,
        RATES[which],
        DECAYS[which],
        SEEDS[which],
        optimizer=optimizer,
        label_smoothing=smoothing,
        hidden=hidden,
        device=device,
    )


def module_of(layers: list[LinearLayer]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias in layers:
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data.copy_(weight)
        linear.bias.data.copy_(bias)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def torch_optimizer(module: nn.Module, rule: RowOptimizer, rate: float, decay: float) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in module.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    if isinstance(rule, Sgd):
        return torch.optim.SGD(groups, lr=rate, momentum=rule.momentum, nesterov=rule.nesterov)
    assert isinstance(rule, AdamW)
    return torch.optim.AdamW(groups, lr=rate, betas=rule.betas, eps=rule.eps)


@pytest.mark.parametrize("optimizer", [ADAMW, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("hidden", [None, 24], ids=["linear", "mlp"])
def test_training_is_that_of_torch(optimizer: RowOptimizer, hidden: int | None) -> None:
    """Autograd, F.cross_entropy and torch.optim, with a schedule, from the same start."""
    ours = heads(5, optimizer=optimizer, hidden=hidden)
    modules = [module_of(ours.head(index)) for index in range(len(SEEDS))]
    theirs = [torch_optimizer(m, optimizer, r, d) for m, r, d in zip(modules, RATES, DECAYS, strict=True)]
    for step, (features, labels) in enumerate(batches(5)):
        multiplier = 1 - step / 10
        losses = ours.step(features, labels, multiplier).losses
        for index, (module, single) in enumerate(zip(modules, theirs, strict=True)):
            loss = F.cross_entropy(module(features), labels, label_smoothing=0.1)
            assert losses[index].item() == pytest.approx(loss.item(), rel=1e-4)
            for group in single.param_groups:
                group["lr"] = RATES[index] * multiplier
            single.zero_grad()
            loss.backward()
            single.step()
    for index, module in enumerate(modules):
        expected = [parameter.detach() for parameter in module.parameters()]
        found = [tensor for layer in ours.head(index) for tensor in layer]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("optimizer", [ADAMW, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize(
    ("classes", "hidden"), [(2, None), (7, None), (10, None), (40, None), (10, 32), (3, 16), (33, 64)]
)
def test_a_head_is_bit_for_bit_the_head_trained_alone(
    request: pytest.FixtureRequest, classes: int, hidden: int | None, optimizer: RowOptimizer
) -> None:
    # As a fit runs them: two threads round a product of 40 rows by where it lies in memory.
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(1)
    together = heads(classes, optimizer=optimizer, hidden=hidden)
    alone = [heads(classes, slice(j, j + 1), optimizer=optimizer, hidden=hidden) for j in range(len(SEEDS))]
    for features, labels in [*batches(classes), *batches(classes, steps=1, rows=1)]:
        losses = together.step(features, labels, 0.7).losses
        assert torch.equal(losses, torch.cat([single.step(features, labels, 0.7).losses for single in alone]))
    for index, single in enumerate(alone):
        for ours, lonely in zip(together.head(index), single.head(0), strict=True):
            assert torch.equal(ours.weight, lonely.weight)
            assert torch.equal(ours.bias, lonely.bias)


@pytest.mark.parametrize(("classes", "hidden"), [(7, None), (20, None), (3, 16)])
def test_logits_of_each_head_are_made_block_by_block(
    monkeypatch: pytest.MonkeyPatch, classes: int, hidden: int | None
) -> None:
    trained = heads(classes, hidden=hidden)
    for features, labels in batches(classes):
        trained.step(features, labels)
    features, _ = batches(classes, steps=1, rows=500)[0]
    blocks: list[int] = []
    expected, real = trained.logits(features), linear_heads._products

    def products(left: Tensor, right: Tensor) -> Tensor:
        blocks.append(len(left))
        return real(left, right)

    monkeypatch.setattr(linear_heads, "_products", products)
    found = list(trained.logits_of_each(features))
    assert set(blocks) == {1}
    assert len(found) == 5 and all(map(torch.equal, found, expected))


@pytest.mark.parametrize("hidden", [None, 16])
def test_logits_and_scores_are_those_of_each_head(hidden: int | None) -> None:
    trained = heads(5, hidden=hidden)
    for features, labels in batches(5):
        trained.step(features, labels)
    features, labels = batches(5, steps=1, rows=500)[0]
    logits = trained.logits(features)
    scores = trained.scores(features, labels)
    assert logits.shape == (5, 500, 5)
    for index in range(5):
        with torch.no_grad():
            expected = module_of(trained.head(index))(features)
        torch.testing.assert_close(logits[index], expected, rtol=1e-4, atol=1e-4)
        assert scores.losses[index].item() == pytest.approx(F.cross_entropy(expected, labels).item(), rel=1e-4)
        assert scores.accuracies[index].item() == pytest.approx((expected.argmax(1) == labels).double().mean().item())


def test_scores_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = heads(5)
    features, labels = batches(5, steps=1, rows=101)[0]
    whole = trained.scores(features, labels)
    monkeypatch.setattr("transfer_cli.methods.probes.linear_heads.rows_at_once", lambda width: 7)
    torch.testing.assert_close(trained.scores(features, labels), whole, rtol=1e-6, atol=0)


def test_equal_seeds_start_equal_and_others_differ() -> None:
    first, same, other = (heads(5).head(index)[0].weight for index in (0, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("hidden", [None, 16])
def test_training_goes_on_from_its_state_bit_for_bit(hidden: int | None) -> None:
    straight, before, after = (heads(5, hidden=hidden) for _ in range(3))
    data = batches(5)
    for features, labels in data:
        straight.step(features, labels)
    for features, labels in data[:2]:
        before.step(features, labels)
    after.restore({name: tensor.clone() for name, tensor in before.state().items()})
    for features, labels in data[2:]:
        after.step(features, labels)
    assert after.steps == 6
    assert all(torch.equal(tensor, after.state()[name]) for name, tensor in straight.state().items())


def test_as_many_rates_as_seeds() -> None:
    with pytest.raises(ValueError, match="2 rates, 1 decays and 1 seeds"):
        ManyHeads(4, 2, [0.1, 0.2], [0.0], [0], optimizer=SGD)


def test_training_imports_no_optimizer_of_torch() -> None:
    """They would cost 1.2 s of a warm run of 3 s."""
    code = """if True:
        import sys, torch
        from transfer_cli.methods.probes.linear_heads import ManyHeads
        from transfer_cli.methods.probes.row_optimizers import AdamW
        before = set(sys.modules)
        heads = ManyHeads(4, 2, [0.1], [0.0], [0], optimizer=AdamW())
        heads.step(torch.ones(3, 4), torch.tensor([0, 1, 1]))
        heads.scores(torch.ones(3, 4), torch.tensor([0, 1, 1]))
        late = set(sys.modules) - before
        slow = ("scipy", "sklearn", "torch._dynamo", "torchvision")
        assert not [name for name in {*late, *sys.modules} if name.startswith(slow)], late
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [None, 32])
def test_a_gpu_trains_the_same_heads(hidden: int | None) -> None:
    """To rounding: a tenth of a per cent of each weight, or 1e-4."""
    host, device = heads(5, hidden=hidden), heads(5, hidden=hidden, device="cuda")
    for features, labels in batches(5):
        expected = host.step(features, labels).losses
        torch.testing.assert_close(
            device.step(features.cuda(), labels.cuda()).losses.cpu(), expected, rtol=1e-3, atol=1e-4
        )
    features, labels = batches(5, steps=1)[0]
    found = device.scores(features.cuda(), labels.cuda())
    torch.testing.assert_close(found.losses, host.scores(features, labels).losses, rtol=1e-3, atol=1e-4)
