"""Logistic regression against scikit-learn, and the sweep of its penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.probes.clusters import clusters
from transfer_cli.methods.probes.logistic import Trial, fit_logistic, sweep_logistic

FEATURES, LABELS = clusters(300, 8, 4, spread=3.0)
VAL_FEATURES, VAL_LABELS = clusters(200, 8, 4, seed=1, spread=3.0)


def by_accuracy(logits: torch.Tensor) -> tuple[float, float]:
    accuracy = float((logits.argmax(1) == VAL_LABELS).double().mean())
    return accuracy, -float(torch.nn.functional.cross_entropy(logits, VAL_LABELS))


@pytest.mark.parametrize("penalty", [0.1, 1.0, 100.0])
def test_agrees_with_scikit_learn(penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr("transfer_cli.methods.probes.linear_layer._NUMBERS_AT_ONCE", 64 * 77)  # parts of 77 rows
    found = fit_logistic(FEATURES, LABELS, 4, penalty, tolerance=1e-6)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=2000).fit(FEATURES.numpy(), LABELS.numpy())
    assert found.converged
    np.testing.assert_allclose(found.layer.weight, theirs.coef_, rtol=1e-3, atol=1e-5)
    # Only differences of biases count: scikit-learn's sum to zero, ours keep the sum they start with, zero too.
    np.testing.assert_allclose(found.layer.bias, theirs.intercept_, rtol=1e-4, atol=1e-5)


def test_float32_products_cost_few_digits() -> None:
    wide = fit_logistic(FEATURES, LABELS, 4, 1.0, tolerance=1e-6)
    narrow = fit_logistic(FEATURES.float(), LABELS, 4, 1.0, tolerance=1e-6)
    assert narrow.layer.weight.dtype == torch.float32
    torch.testing.assert_close(narrow.layer.weight.double(), wide.layer.weight, rtol=1e-3, atol=1e-4)


def test_the_gradient_vanishes_at_the_solution() -> None:
    """Autograd of the definition, at a penalty that matters."""
    fit = fit_logistic(FEATURES, LABELS, 4, 20.0, tolerance=1e-6)
    weight, bias = (tensor.clone().requires_grad_() for tensor in fit.layer)
    loss = torch.nn.functional.cross_entropy(FEATURES @ weight.T + bias, LABELS, reduction="sum")
    (loss + 20.0 / 2 * weight.square().sum()).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert weight.grad.abs().max() / len(LABELS) < 1e-6
    assert bias.grad.abs().max() / len(LABELS) < 1e-6


def test_a_warm_start_saves_iterations_and_one_too_short_says_so() -> None:
    cold = fit_logistic(FEATURES, LABELS, 4, 1.0)
    warm = fit_logistic(FEATURES, LABELS, 4, 1.0, start=cold.layer)
    assert warm.iterations < cold.iterations / 2
    assert not fit_logistic(FEATURES, LABELS, 4, 1.0, max_iterations=2).converged


def test_the_sweep_goes_on_from_what_it_has() -> None:
    trials = sweep_logistic(FEATURES, LABELS, VAL_FEATURES, VAL_LABELS, 4, rank=by_accuracy).trials
    cold = [fit_logistic(FEATURES, LABELS, 4, trial.penalty).iterations for trial in trials]
    assert sum(trial.iterations for trial in trials) < 0.6 * sum(cold)


def test_the_sweep_narrows_down_on_the_best_of_validation() -> None:
    found = sweep_logistic(FEATURES, LABELS, VAL_FEATURES, VAL_LABELS, 4, rank=by_accuracy)
    exponents = [round(float(np.log10(trial.penalty)), 3) for trial in found.trials]
    assert exponents[:7] == [6, 4, 2, 0, -2, -4, -6]
    assert 7 < len(exponents) <= 15
    assert min(abs(a - b) for i, a in enumerate(exponents) for b in exponents[:i]) == 0.125

    def merit(trial: Trial) -> tuple[float, float]:
        return trial.accuracy, -trial.loss

    best = max(found.trials, key=merit)
    assert found.best.penalty == best.penalty
    assert best.accuracy > found.trials[0].accuracy
    alone = fit_logistic(FEATURES, LABELS, 4, best.penalty, tolerance=1e-6)
    torch.testing.assert_close(found.best.layer.weight, alone.layer.weight, rtol=0.05, atol=0.005)
    assert best.accuracy == pytest.approx(found.best.layer.accuracy(VAL_FEATURES, VAL_LABELS))


def test_among_scores_that_differ_by_chance_the_loss_decides() -> None:
    """A handful of validation samples are all right under many penalties, and under an absurd one by luck."""
    few = VAL_FEATURES[:12], VAL_LABELS[:12]

    def rank(logits: Tensor) -> tuple[float, float]:
        right = float((logits.argmax(1) == few[1]).double().mean())
        return right, -float(torch.nn.functional.cross_entropy(logits, few[1]))

    plain = sweep_logistic(FEATURES, LABELS, *few, 4, rank=rank)
    found = sweep_logistic(FEATURES, LABELS, *few, 4, rank=rank, least=lambda score: 0.0)
    assert found.best.penalty == min(found.trials, key=lambda trial: trial.loss).penalty
    assert [trial.penalty for trial in found.trials] == [trial.penalty for trial in plain.trials]
    chosen = next(trial for trial in plain.trials if trial.penalty == plain.best.penalty)
    assert chosen.accuracy == max(trial.accuracy for trial in plain.trials), "by itself the score decides"
