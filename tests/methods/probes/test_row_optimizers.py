"""Written-out optimizers against torch.optim, one head at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from transfer_cli.methods.probes.row_optimizers import ROW_OPTIMIZERS, AdamW, RowOptimizer, Sgd

RATES = (0.3, 0.02)
DECAYS = (0.0, 0.4)
SHAPE = (3, 4)


def torch_weights(rule: RowOptimizer, start: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    weight = start.clone().requires_grad_()
    optimizer: torch.optim.Optimizer
    if isinstance(rule, Sgd):
        optimizer = torch.optim.SGD(
            [weight], lr=rate, momentum=rule.momentum, nesterov=rule.nesterov, weight_decay=decay
        )
    else:
        assert isinstance(rule, AdamW)
        optimizer = torch.optim.AdamW([weight], lr=rate, betas=rule.betas, eps=rule.eps, weight_decay=decay)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(
    "rule",
    [Sgd(0.0, nesterov=False), Sgd(0.9, nesterov=False), Sgd(0.8), AdamW(), AdamW((0.7, 0.8), eps=0.1)],
    ids=repr,
)
def test_each_row_goes_where_torch_optim_takes_it(rule: RowOptimizer) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)
    gradients = [torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64) for _ in range(7)]
    weight = start.clone()
    state = [torch.zeros_like(weight) for _ in range(rule.slots)]
    rates, decays = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (RATES, DECAYS))
    for step, gradient in enumerate(gradients, start=1):
        rule.update(weight, gradient.clone(), state, rates, decays, step)
    for row, (rate, decay) in enumerate(zip(RATES, DECAYS, strict=True)):
        expected = torch_weights(rule, start[row], [gradient[row] for gradient in gradients], rate, decay)
        torch.testing.assert_close(weight[row], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(ROW_OPTIMIZERS))
def test_a_rate_of_zero_moves_nothing(name: str) -> None:
    rule = ROW_OPTIMIZERS[name]()
    weight = torch.ones(1, 2, 2)
    state = [torch.zeros_like(weight) for _ in range(rule.slots)]
    rule.update(weight, torch.full_like(weight, 5.0), state, torch.zeros(1, 1, 1), torch.ones(1, 1, 1), 1)
    assert torch.equal(weight, torch.ones(1, 2, 2))
