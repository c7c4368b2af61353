"""Standardising is what numpy says, and folding it into a layer changes no logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from transfer_cli.methods.probes.linear_layer import LinearLayer, standardiser

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(1000, 12, generator=GENERATOR) * torch.logspace(-3, 3, 12) + torch.linspace(-50, 50, 12)


def test_mean_and_deviation() -> None:
    found = standardiser(FEATURES)
    values = FEATURES.numpy().astype(np.float64)
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, values.std(0), rtol=1e-10)
    applied = found.apply(FEATURES)
    assert applied.dtype == torch.float32
    torch.testing.assert_close(applied.mean(0), torch.zeros(12), rtol=0, atol=1e-2)


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = standardiser(FEATURES)
    monkeypatch.setattr("transfer_cli.methods.probes.linear_layer._NUMBERS_AT_ONCE", 100)
    torch.testing.assert_close(standardiser(FEATURES), whole, rtol=1e-12, atol=1e-12)


def test_constant_features_stay_finite() -> None:
    """0.1 has no exact float32; jitter of its last bit is no information."""
    jitter = torch.full((100, 1), 0.1)
    jitter[::2] = torch.nextafter(jitter[::2], torch.tensor(1.0))
    features = torch.cat([jitter, torch.zeros(100, 1), torch.full((100, 1), -7.0)], dim=1)
    found = standardiser(features)
    assert found.deviation.tolist() == [1, 1, 1]
    assert found.apply(features).abs().max() < 1e-6


def test_a_feature_that_hardly_varies_is_not_made_as_large_as_others() -> None:
    """One that two images of a thousand show, beside constant ones, which count for nothing."""
    features = torch.cat([torch.randn(1000, 10, generator=GENERATOR), torch.zeros(1000, 10)], dim=1)
    features[:2, 9] = 0.01
    features[2:, 9] = 0
    found = standardiser(features, least=0.5)
    typical = features[:, :10].double().std(0, unbiased=False).square().mean().sqrt()
    assert found.deviation[9] == pytest.approx(float(0.5 * typical))
    assert found.apply(features)[:, 9].abs().max() < 0.03
    plain = standardiser(features)
    assert plain.apply(features)[:, 9].abs().max() > 20
    torch.testing.assert_close(found.deviation[:9], plain.deviation[:9])
    assert found.deviation[10:].tolist() == [1.0] * 10
    assert standardiser(torch.ones(5, 3), least=0.5).deviation.tolist() == [1, 1, 1]


def test_folding_changes_no_logit() -> None:
    """Exact but for the rounding of float32: at 64 bits nothing is left of the difference."""
    found = standardiser(FEATURES)
    layer = LinearLayer(torch.randn(5, 12, generator=GENERATOR), torch.randn(5, generator=GENERATOR))
    wide = LinearLayer(layer.weight.double(), layer.bias.double())
    expected = wide.logits(found.apply(FEATURES.double()))
    torch.testing.assert_close(found.fold(wide).logits(FEATURES.double()), expected, rtol=1e-9, atol=1e-9)
    folded = found.fold(layer)
    assert folded.weight.dtype == folded.bias.dtype == torch.float32
    exact = found.fold(wide)
    torch.testing.assert_close(folded, LinearLayer(exact.weight.float(), exact.bias.float()), rtol=0, atol=0)


def test_logits_are_those_of_a_linear_module() -> None:
    layer = LinearLayer(torch.randn(5, 12, generator=GENERATOR), torch.randn(5, generator=GENERATOR))
    torch.testing.assert_close(layer.logits(FEATURES), F.linear(FEATURES, *layer))
