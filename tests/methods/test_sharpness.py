"""SAM: the gradient at the perturbed weights, exactly the base optimizer at rho 0, nothing else moved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from transfer_cli.methods.sharpness import perturbed, sharp_gradients

IMAGES = torch.linspace(-2, 2, 8 * 3 * 6 * 6).view(8, 3, 6, 6).sin()
LABELS = torch.tensor([0, 1] * 4)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2)]
    return nn.Sequential(*layers).train()


def backward(module: nn.Module) -> float:
    module.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(module(IMAGES), LABELS)
    loss.backward()
    return loss.item()


def trained(rho: float | None, steps: int = 4) -> tuple[dict[str, Tensor], list[float], Tensor]:
    """State, losses and generator state after some steps of momentum SGD, with SAM unless `rho` is None."""
    module, losses = network(), []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(7)
    for _ in range(steps):
        run = backward(module) if rho is None else sharp_gradients(module, rho, lambda: backward(module))
        losses.append(run)
        optimizer.step()
    return module.state_dict(), losses, torch.get_rng_state()


def test_rho_0_is_the_base_optimizer_bit_for_bit() -> None:
    """Dropout, BatchNorm statistics and the generator's state included."""
    plain, plain_losses, plain_noise = trained(None)
    sharp, sharp_losses, sharp_noise = trained(0.0)
    assert sharp_losses == plain_losses
    assert all(torch.equal(tensor, sharp[name]) for name, tensor in plain.items())
    assert torch.equal(sharp_noise, plain_noise)


def test_rho_above_0_is_not() -> None:
    assert trained(0.1)[1] != trained(None)[1]


def test_gradient_at_the_worst_nearby_weights_by_hand() -> None:
    """f(w) = w^T diag(1, 4) w / 2 at (3, 1): g = (3, 4), so the gradient at w + rho g / 5 = (3.6, 1.8), rho = 1."""
    module = nn.Linear(2, 1, bias=False)
    curvature = torch.tensor([1.0, 4.0])
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[3.0, 1.0]]))

    def quadratic() -> float:
        module.zero_grad(set_to_none=True)
        value = 0.5 * (curvature * module.weight**2).sum()
        value.backward()
        return value.item()

    assert sharp_gradients(module, 1.0, quadratic) == pytest.approx(6.5)
    torch.testing.assert_close(module.weight.grad, torch.tensor([[3.6, 7.2]]))
    assert torch.equal(module.weight.detach(), torch.tensor([[3.0, 1.0]]))


def test_the_step_up_has_length_rho_over_all_parameters_together() -> None:
    module = network()
    backward(module)
    module[0].weight.grad = None  # frozen parameters have none, and stay
    before = [p.detach().clone() for p in module.parameters()]
    with perturbed(module, 0.05):
        moved = [(p - b).detach() for p, b in zip(module.parameters(), before, strict=True)]
    assert torch.cat([m.flatten() for m in moved]).norm().item() == pytest.approx(0.05, rel=1e-3)
    assert not moved[0].any()
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


def test_weights_and_statistics_come_back_when_the_second_pass_fails() -> None:
    module = network()
    before = [p.detach().clone() for p in module.parameters()]
    passes = []

    def fails() -> None:
        passes.append(backward(module))
        if len(passes) == 2:
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        sharp_gradients(module, 0.1, fails)
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))
    assert module[1].num_batches_tracked == 1 and module[1].track_running_stats


def test_frozen_batchnorm_normalises_by_its_statistics_in_both_passes() -> None:
    module = network()
    module[1].eval()
    module[4].p = 0.0
    first = backward(module)
    assert sharp_gradients(module, 0.0, lambda: backward(module)) == first
    grads = [p.grad.clone() for p in module.parameters()]
    backward(module)
    assert all(torch.equal(p.grad, g) for p, g in zip(module.parameters(), grads, strict=True))
