"""Penalties: gradients that the papers state, hand-computed values, explicit decompositions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from transfer_cli.methods.penalties import attention_weights, bss, delta, l2_sp, loss_increases


def test_l2_sp_pulls_back_with_alpha_and_shrinks_the_head_with_beta() -> None:
    """The identity of Li 2018: gradient alpha (w - w0) on what has a start, beta w on the head."""
    torch.manual_seed(0)
    w, bias, head = (torch.randn(shape, requires_grad=True) for shape in ((3, 4), (3,), (2, 3)))
    start = {"w": torch.randn(3, 4), "bias": torch.randn(3)}
    l2_sp({"w": w, "bias": bias, "head": head}, start, alpha=0.3, beta=0.7).backward()
    torch.testing.assert_close(w.grad, 0.3 * (w - start["w"]))
    torch.testing.assert_close(bias.grad, 0.3 * (bias - start["bias"]))
    torch.testing.assert_close(head.grad, 0.7 * head)


def test_l2_sp_by_hand() -> None:
    value = l2_sp({"w": torch.tensor([1.0, 2.0]), "head": torch.tensor([3.0])}, {"w": torch.zeros(2)}, 0.5, 0.1)
    assert value == pytest.approx(0.25 * 5 + 0.05 * 9)


def test_delta_by_hand() -> None:
    """Two channels over 1 x 2 positions: 1/2 * 2 * (0.25 * (1 + 9)/2 + 0.75 * (4 + 0)/2) = 2.75."""
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
    value = delta([features], [torch.zeros_like(features)], [torch.tensor([0.25, 0.75])])
    assert value == pytest.approx(2.75)


def test_delta_averages_the_batch_and_adds_layers() -> None:
    torch.manual_seed(0)
    features, source = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    weight = torch.full((3,), 1 / 3)
    single = [delta([features[i : i + 1]], [source[i : i + 1]], [weight]) for i in range(4)]
    torch.testing.assert_close(delta([features], [source], [weight]), torch.stack(single).mean())
    torch.testing.assert_close(delta([features] * 2, [source] * 2, [weight] * 2), 2 * torch.stack(single).mean())
    half_squared = 0.5 * (features - source).square().mean((2, 3)).sum(1).mean()
    torch.testing.assert_close(delta([features], [source], [weight]), half_squared)


def test_delta_takes_pooled_features_and_leaves_the_source_alone() -> None:
    features, source = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    value = delta([features], [source], [torch.tensor([1.0, 0.0, 0.0])])
    value.backward()
    assert value.item() == pytest.approx(1.5)
    assert source.grad is None and features.grad is not None


def test_a_channel_is_worth_what_its_absence_costs() -> None:
    """A linear loss over channel means: silencing channel j removes exactly its term."""
    features = torch.tensor([[[1.0, 1.0], [2.0, 4.0], [0.0, 0.0]]])
    coefficients = torch.tensor([-3.0, 2.0, 5.0])  # the full loss is -3 + 6 + 0

    def loss_from(activations: Tensor) -> Tensor:
        return (activations.mean(2) * coefficients).sum(1).mean()

    before = features.clone()
    torch.testing.assert_close(loss_increases(features, loss_from), torch.tensor([3.0, -6.0, 0.0]))
    assert torch.equal(features, before)


def test_attention_is_a_softmax_of_standardised_increases() -> None:
    weights = attention_weights(torch.tensor([0.0, 0.02]))  # standardised: -1, 1
    torch.testing.assert_close(weights, torch.tensor([-0.2, 0.2]).softmax(0))
    torch.testing.assert_close(attention_weights(torch.zeros(4)), torch.full((4,), 0.25))


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
@pytest.mark.parametrize("k", [1, 3])
def test_bss_against_an_explicit_svd(shape: tuple[int, int], k: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    u, s, v = torch.linalg.svd(features.detach(), full_matrices=False)
    value = bss(features, k)
    value.backward()
    assert value.item() == pytest.approx(float((s[-k:] ** 2).sum()), rel=1e-5)
    shrunk = 2 * u[:, -k:] @ torch.diag(s[-k:]) @ v[-k:]
    torch.testing.assert_close(features.grad, shrunk, rtol=1e-4, atol=1e-5)


def test_bss_of_a_rank_one_batch_is_nothing() -> None:
    features = torch.outer(torch.arange(1.0, 5.0), torch.tensor([1.0, -2.0, 0.5]))
    assert float(bss(features, 2)) == pytest.approx(0, abs=1e-10)
    assert float(bss(features, 3)) == pytest.approx(30 * 5.25)
