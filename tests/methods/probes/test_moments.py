"""Sums taken in parts are the sums of the whole."""

from __future__ import annotations

import pytest
import torch

from tests.methods.probes.clusters import clusters
from transfer_cli.methods.probes.moments import moments, spectrum

FEATURES, LABELS = clusters(60, 5, 3)


def test_sums_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer_cli.methods.probes.linear_layer._NUMBERS_AT_ONCE", 35)  # parts of 7 rows
    found = moments(FEATURES, LABELS, 4)
    centred = FEATURES - FEATURES.mean(0)
    assert found.samples == 60
    torch.testing.assert_close(found.scatter, 60 * torch.cov(FEATURES.T, correction=0))
    torch.testing.assert_close(found.fourth, (centred @ centred.T).diagonal().square().sum())
    assert found.class_counts.tolist() == [*torch.bincount(LABELS).tolist(), 0]
    for index in range(3):
        torch.testing.assert_close(found.class_sums[index], FEATURES[index == LABELS].sum(0))
        torch.testing.assert_close(found.between()[index], centred[index == LABELS].sum(0))


def test_float32_features_lose_nothing_on_the_way() -> None:
    """A mean of 1000 with a deviation of 1 leaves three digits of a float32 sum of squares."""
    far = (FEATURES + 1000).float()
    torch.testing.assert_close(moments(far, LABELS, 3).scatter, moments(far.double(), LABELS, 3).scatter)


def test_spectrum_leaves_out_what_is_rounding() -> None:
    factor = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values, vectors = spectrum(factor @ factor.T)
    assert values.shape == (2,)
    torch.testing.assert_close(vectors @ values.diag() @ vectors.T, factor @ factor.T)
    assert spectrum(torch.zeros(3, 3, dtype=torch.float64))[0].shape == (0,)
