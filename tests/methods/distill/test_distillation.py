"""The weighted sum of terms: what it computes, needs, refuses, and never exports."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.command.source import conf_dir
from transfer_cli.errors import UserError
from transfer_cli.methods.distill import feature_losses, logit_losses
from transfer_cli.methods.distill.contrast import Contrast, Negatives
from transfer_cli.methods.distill.distillation import TERMS, DistillationLoss, Outputs, check_terms, needs
from transfer_cli.methods.distill.projections import Projections
from transfer_cli.models import backbones
from transfer_cli.models.taps import default_pairs, embedding_stage, forward_taps, observe

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.tensor([0, 2, 1, 2])
INDICES = torch.arange(4)
PAIRS = (("low", "deep1"), ("high", "deep2"))


def student() -> Outputs:
    features = {"low": (4, 8, 8), "high": (6, 4, 4), "pool": (6,)}
    return made(features)


def teacher() -> Outputs:
    return made({"deep1": (5, 8, 8), "deep2": (9, 2, 2), "pool": (9,)})


def made(features: dict[str, tuple[int, ...]]) -> Outputs:
    logits = torch.randn(4, 3, generator=GENERATOR, requires_grad=True)
    drawn = {name: torch.randn(4, *shape, generator=GENERATOR, requires_grad=True) for name, shape in features.items()}
    return Outputs(logits, drawn)


def loss_of(weights: dict[str, float], **settings: object) -> DistillationLoss:
    return DistillationLoss(
        weights,
        4.0,
        pairs=PAIRS,
        embeddings=("pool", "pool"),
        projections=Projections([((4, 8, 8), (5, 8, 8)), ((6, 4, 4), (9, 2, 2))]),
        contrast=Contrast(6, 9, rows=4, population=4, seed=0),
        **settings,
    )


def negatives() -> Tensor:
    return Negatives(LABELS.numpy(), np.arange(4), count=3, seed=0)(np.arange(4), view=0)


def test_each_term_is_its_function() -> None:
    ours, theirs = student(), teacher()
    loss = loss_of(dict.fromkeys(TERMS, 1.0), label_smoothing=0.1)
    _, parts = loss(ours, theirs, LABELS, INDICES, negatives())
    pairs = [(ours.features[s], theirs.features[t]) for s, t in PAIRS]
    hints = [feature_losses.hint(s, t, loss.projections.layers[n]) for n, (s, t) in enumerate(pairs)]
    expected = {
        "ce": F.cross_entropy(ours.logits, LABELS, label_smoothing=0.1),
        "kd": logit_losses.kd(ours.logits, theirs.logits, 4.0),
        "dkd": logit_losses.dkd(ours.logits, theirs.logits, LABELS, 4.0),
        "dist": logit_losses.dist(ours.logits, theirs.logits, 4.0),
        "hint": sum(hints) / 2,
        "attention": sum(feature_losses.attention(s, t) for s, t in pairs),
        "rkd": feature_losses.rkd(ours.features["pool"], theirs.features["pool"]),
    }
    assert list(parts) == list(TERMS)
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value.detach(), msg=name)
    assert 0 < parts["crd"] < 100


def test_the_loss_is_the_weighted_sum() -> None:
    ours, theirs = student(), teacher()
    total, parts = loss_of({"ce": 0.25, "kd": 0.75, "rkd": 25.0, "dist": 0.0})(ours, theirs, LABELS)
    assert list(parts) == ["ce", "kd", "rkd"]
    torch.testing.assert_close(total.detach(), 0.25 * parts["ce"] + 0.75 * parts["kd"] + 25 * parts["rkd"])
    assert not any(part.requires_grad for part in parts.values())


@pytest.mark.parametrize("term", TERMS)
def test_every_term_teaches_the_student_and_leaves_the_teacher(term: str) -> None:
    ours, theirs = student(), teacher()
    loss = loss_of({term: 1.0})
    total, _ = loss(ours, theirs, LABELS, INDICES, negatives())
    total.backward()
    tapped = [ours.features[name] for name in loss.student_stages] or [ours.logits]
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tapped)
    assert all(tensor.grad is None for tensor in (theirs.logits, *theirs.features.values()))
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())


@pytest.mark.parametrize(
    ("term", "stages", "trained"),
    [
        ("kd", ((), ()), 0),
        ("hint", (("low", "high"), ("deep1", "deep2")), 4),
        ("attention", (("low", "high"), ("deep1", "deep2")), 0),
        ("rkd", (("pool",), ("pool",)), 0),
        ("crd", (("pool",), ("pool",)), 4),
    ],
)
def test_terms_declare_the_stages_and_parameters_that_they_need(
    term: str, stages: tuple[tuple[str, ...], tuple[str, ...]], trained: int
) -> None:
    loss = loss_of({"ce": 1.0, term: 1.0})
    assert (loss.student_stages, loss.teacher_stages) == stages
    assert len(list(loss.parameters())) == trained


def test_needs_are_those_of_terms_with_a_weight() -> None:
    assert needs({"kd": 1.0, "hint": 0.0}) == set()
    assert needs({"ce": 1.0, "crd": 1.0}) == {"labels", "embeddings", "contrast"}
    assert needs({"attention": 1.0, "hint": 1.0}) == {"pairs", "projections"}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"kdd": 1.0}, r"strategy\.loss\.kdd: no such term\. Did you mean kd or rkd or dkd"),
        ({"zzz": 1.0}, r"strategy\.loss\.zzz: no such term\. Terms: ce, kd"),
        ({"ce": -1.0}, r"strategy\.loss\.ce=-1\.0: expected a number 0 or more"),
        ({"ce": math.nan}, r"strategy\.loss\.ce=nan"),
        ({"ce": 0.0}, r"strategy\.loss: no term has a weight"),
        ({}, r"strategy\.loss: no term has a weight"),
    ],
)
def test_weights_that_make_no_loss(weights: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DistillationLoss(weights, 4.0)


def test_the_order_of_weights_does_not_change_a_bit() -> None:
    ours, theirs = student(), teacher()
    weights = dict.fromkeys(TERMS, 0.3)
    one, other = loss_of(weights), loss_of(dict(reversed(weights.items())))
    other.load_state_dict(one.state_dict())
    drawn = negatives()
    assert torch.equal(*(loss(ours, theirs, LABELS, INDICES, drawn)[0] for loss in (one, other)))


def test_terms_that_labels_or_pairs_do_not_fit() -> None:
    check_terms({"ce": 1.0, "kd": 1.0}, labelled=True, pairs=False)
    check_terms({"ce": 0.0, "kd": 1.0}, labelled=False, pairs=False)
    check_terms({"attention": 1.0}, labelled=False, pairs=True)
    with pytest.raises(UserError, match=r"strategy\.loss\.ce, strategy\.loss\.dkd: .*dataset\.labels=none"):
        check_terms({"ce": 1.0, "dkd": 1.0, "kd": 1.0}, labelled=False, pairs=False)
    with pytest.raises(UserError, match=r"strategy\.pairs: only strategy\.loss\.hint and strategy\.loss\.attention"):
        check_terms({"hint": 0.0, "kd": 1.0}, labelled=True, pairs=True)
    with pytest.raises(UserError, match=r"strategy\.loss\.kdd"):
        check_terms({"kdd": 1.0}, labelled=True, pairs=False)


def test_every_term_has_a_weight_in_the_yaml() -> None:
    with (conf_dir() / "strategy" / "distill.yaml").open(encoding="utf-8") as file:
        assert list(yaml.safe_load(file)["loss"]) == list(TERMS)


def test_standardising_acts_on_soft_terms_alone() -> None:
    ours, theirs = student(), teacher()
    loss = loss_of({"ce": 1.0, "kd": 1.0, "dkd": 1.0}, standardized=True)
    _, plain = loss(ours, theirs, LABELS)
    _, changed = loss(Outputs(ours.logits * 7 + 3), Outputs(theirs.logits * 5 - 1), LABELS)
    torch.testing.assert_close(changed["kd"], plain["kd"])
    torch.testing.assert_close(changed["dkd"], plain["dkd"])
    assert abs(changed["ce"] - plain["ce"]) > 0.1


@pytest.mark.parametrize("standardized", [False, True])
def test_several_teachers(standardized: bool) -> None:
    ours, one, other = student(), teacher(), teacher()
    terms = {"kd": 1.0, "dkd": 1.0, "dist": 1.0}

    def parts(logits: Tensor) -> dict[str, Tensor]:
        loss = loss_of(terms, standardized=standardized)
        values: dict[str, Tensor] = loss(ours, Outputs(logits), LABELS)[1]
        return values

    alone = parts(one.logits)
    pair = torch.stack([one.logits, other.logits], 1)
    torch.testing.assert_close(parts(torch.stack([one.logits, one.logits], 1)), alone)
    assert abs(parts(pair)["kd"] - alone["kd"]) > 0.01


def test_a_folder_without_classes_can_be_distilled() -> None:
    ours, theirs = student(), teacher()
    unlabelled = torch.full((4,), logit_losses.UNLABELLED)
    _, parts = loss_of({"ce": 1.0, "kd": 1.0, "hint": 1.0})(ours, theirs, unlabelled)
    assert parts["ce"] == 0
    torch.testing.assert_close(parts["kd"], logit_losses.kd(ours.logits, theirs.logits, 4.0).detach())


def test_projections_train_and_never_reach_the_student() -> None:
    """A step with every feature term between real networks; what is exported is the plain architecture."""
    torch.manual_seed(0)
    network, source = backbones.build("test_resnet", "timm", 3, 32), backbones.build("test_vit", "timm", 3, 48)
    plain = list(network.state_dict())
    shapes = observe(network, 32), observe(source, 48)
    pairs = default_pairs(*shapes)
    loss = DistillationLoss(
        {"hint": 1.0, "attention": 1000.0, "rkd": 25.0, "crd": 1.0},
        4.0,
        pairs=pairs,
        embeddings=(embedding_stage(shapes[0]), embedding_stage(shapes[1])),
        projections=Projections([(shapes[0][s], shapes[1][t]) for s, t in pairs]),
        contrast=Contrast(96, 64, rows=4, population=4, seed=0),
    )
    with torch.no_grad():
        taught = Outputs(*forward_taps(source, torch.rand(4, 3, 48, 48), loss.teacher_stages))
    network.train()
    optimizer = torch.optim.SGD([*network.parameters(), *loss.parameters()], lr=0.001)
    before = [parameter.detach().clone() for parameter in loss.parameters()]
    images, values = torch.rand(4, 3, 32, 32), []
    for _ in range(8):
        outputs = Outputs(*forward_taps(network, images, loss.student_stages))
        total, _ = loss(outputs, taught, LABELS, INDICES, negatives())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < values[0] / 2
    assert all(not torch.equal(now, was) for now, was in zip(loss.parameters(), before, strict=True))
    assert list(network.state_dict()) == plain
    assert {name.split(".")[0] for name in loss.state_dict()} == {"projections", "contrast"}
