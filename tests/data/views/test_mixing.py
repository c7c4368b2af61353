"""Mixup and cutmix: what is drawn depends on (seed, view, index)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transfer_cli.data.views.mixing import Mixes, draw

SIZE = (20, 30)
BOTH = {"mixup": 0.2, "cutmix": 1.0}


def drawn(indices: np.ndarray, view: int = 3, seed: int = 5, **alphas: float) -> Mixes:
    return draw(seed, view, indices, SIZE, **{"mixup": 0.0, "cutmix": 0.0, **alphas})


def same(left: Mixes, right: Mixes) -> bool:
    pairs = zip((left.partners, left.shares, left.boxes), (right.partners, right.shares, right.boxes), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_same_view_twice_is_byte_equal_and_another_is_not() -> None:
    batch = np.arange(100, 132)
    assert same(drawn(batch, **BOTH), drawn(batch, **BOTH))
    for other in (drawn(batch, view=4, **BOTH), drawn(batch, seed=6, **BOTH), drawn(batch + 1, **BOTH)):
        assert not same(drawn(batch, **BOTH), other)


def test_shares_and_boxes_do_not_depend_on_the_rest_of_the_batch() -> None:
    whole, part = drawn(np.arange(64), **BOTH), drawn(np.array([40, 7]), **BOTH)
    assert torch.equal(part.shares, whole.shares[[40, 7]])
    assert torch.equal(part.boxes, whole.boxes[[40, 7]])


@pytest.mark.parametrize("n", [2, 3, 32])
def test_partners_are_a_permutation_without_fixed_points(n: int) -> None:
    partners = drawn(np.arange(n), mixup=1.0).partners
    assert sorted(partners.tolist()) == list(range(n))
    assert (partners != torch.arange(n)).all()


def test_partners_are_drawn_anew_in_every_view() -> None:
    """Of 9 others each is a sample's partner in a ninth of the views, within 5 standard errors."""
    firsts = np.array([int(drawn(np.arange(10), view=view, mixup=1.0).partners[0]) for view in range(1800)])
    assert np.abs(np.bincount(firsts, minlength=10)[1:] - 200).max() < 5 * np.sqrt(200)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_mixup_shares_follow_beta(alpha: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)) within five standard errors; at alpha 1 uniform."""
    n = 20_000
    shares = drawn(np.arange(n), mixup=alpha).shares.double().numpy()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 5 * np.sqrt(variance / n)
    assert shares.var() == pytest.approx(variance, rel=0.05)
    if alpha == 1.0:
        assert np.abs(np.sort(shares) - np.linspace(0, 1, n)).max() < 0.015


def test_cutmix_boxes_have_the_drawn_area() -> None:
    """A square of side s in the unit square keeps s - s^2 / 4 per axis at the border; s^2 is uniform at alpha 1."""
    mixes = draw(5, 3, np.arange(20_000), (2000, 3000), mixup=0.0, cutmix=1.0)
    area = 1 / 2 - 2 / 4 * 2 / 5 + 1 / 16 * 1 / 3  # E[s^2 - s^3 / 2 + s^4 / 16]
    assert float(mixes.shares.mean()) == pytest.approx(1 - area, abs=0.01)
    top, left, bottom, right = mixes.boxes.double().unbind(1)
    whole = (top > 0) & (left > 0) & (bottom < 2000) & (right < 3000)
    ratio = (right - left)[whole] / (bottom - top)[whole].clamp_min(1)
    assert float(ratio.median()) == pytest.approx(1.5, abs=0.01)


def test_both_are_drawn_evenly() -> None:
    n = 20_000
    mixes = drawn(np.arange(n), **BOTH)
    height, width = mixes.boxes[:, 2] - mixes.boxes[:, 0], mixes.boxes[:, 3] - mixes.boxes[:, 1]
    assert 0.47 < float((height * width > 0).double().mean()) < 0.51


def test_mixes_go_to_a_device_whole() -> None:
    mixes = drawn(np.arange(8), **BOTH)
    assert same(mixes, mixes.to(torch.device("cpu")))
