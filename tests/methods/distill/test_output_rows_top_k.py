"""Stored top-k logits: exact where they claim to be, and off only where they say so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from transfer_cli.methods.distill.logit_losses import kd
from transfer_cli.methods.distill.output_rows import compress, expand

LOGITS = torch.randn(6, 9, generator=torch.Generator().manual_seed(0)) * 3


def probabilities(k: int, temperature: float) -> Tensor:
    return (expand(compress(LOGITS, k), 9) / temperature).softmax(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_classes_are_exact(dtype: torch.dtype) -> None:
    logits = LOGITS.to(dtype)
    assert torch.equal(expand(compress(logits, 9), 9), logits)


@pytest.mark.parametrize("k", [1, 4, 8])
def test_the_k_largest_keep_their_probability_and_the_rest_its_sum(k: int) -> None:
    true = LOGITS.softmax(1)
    kept = true.topk(k).indices
    stored = probabilities(k, 1.0)
    torch.testing.assert_close(stored.gather(1, kept), true.gather(1, kept))
    rest = stored.scatter(1, kept, 0.0)
    evenly = (1 - true.topk(k).values.sum(1)) / (9 - k)
    torch.testing.assert_close(rest.amax(1), evenly)
    torch.testing.assert_close(rest.sum(1), evenly * (9 - k))


def test_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()
    stored = compress(logits, 1)
    assert (stored.indices.item(), stored.rest.exp().item()) == (0, pytest.approx(0.5))
    even = 0.5 / 3
    torch.testing.assert_close(expand(stored, 4).exp(), torch.tensor([[0.5, even, even, even]]))
    # At T = 2 probabilities go with their square roots.
    roots = torch.tensor([[0.5, even, even, even]]).sqrt()
    torch.testing.assert_close((expand(stored, 4) / 2).softmax(1), roots / roots.sum())


def test_softer_temperatures_overstate_the_rest() -> None:
    """What the module says is lost: a mean of roots is below the root of the mean (Jensen)."""
    for temperature, sign in ((4.0, 1), (0.5, -1)):
        true = (LOGITS / temperature).softmax(1)
        excess = true.gather(1, true.topk(3).indices).sum(1) - probabilities(3, temperature).topk(3).values.sum(1)
        assert (sign * excess > 0).all()


def test_more_classes_lose_less() -> None:
    lost = [kd(expand(compress(LOGITS, k), 9), LOGITS, 4.0).item() for k in range(1, 10)]
    assert lost == sorted(lost, reverse=True)
    assert lost[0] > 0.1
    assert lost[-1] == pytest.approx(0, abs=1e-6)
