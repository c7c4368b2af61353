"""Settings by rule: sane for every family, and never stranger than the published recipes that they come from."""

from __future__ import annotations

import pytest

from tests.conftest import experiment
from transfer_cli.models import backbones
from transfer_cli.models.families import family_of
from transfer_cli.strategies import rules
from transfer_cli.strategies.rules import Situation

FAMILIES = {
    "efficientnet_lite0": "depthwise",
    "efficientnet_b0": "depthwise",
    "mobilenet_v3_small": "depthwise",
    "resnet18": "dense",
    "regnet_y_400mf": "dense",
    "densenet121": "dense",
    "convnext_tiny": "convnext",
    "vit_tiny_patch16_224": "attention",
    "deit_tiny_patch16_224": "attention",
    "swin_t": "attention",
    "resnetv2_50x1_bit": "other",
}


@pytest.mark.parametrize(("name", "family"), FAMILIES.items())
def test_families_are_told_by_what_networks_are_made_of(name: str, family: str) -> None:
    assert family_of(backbones.build(name, "auto", 10, image_size=224)) == family


def situation(**changes: object) -> Situation:
    """A pretrained EfficientNet on 2,000 images, but for these."""
    values = {"family": "depthwise", "pretrained": True, "images": 2000, "step": 32, "optimizer": "adamw"}
    return Situation(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "statistics", "expected"),
    [
        ({}, "train", 2e-3),
        ({}, "frozen", 5e-4),
        ({"family": "dense"}, "train", 1e-3),
        # MAE (He 2022): 1e-3 for batches of 256, linear in the batch, is 1.25e-4 at 32.
        ({"family": "attention"}, "train", 1e-4),
        ({"family": "attention", "adapter": "lora"}, "train", 1e-3),
        ({"family": "attention", "pretrained": False}, "train", 5e-4),
        ({"adapter": "lora"}, "train", 5e-3),
        ({"head_only": True, "family": "attention"}, "train", 2e-3),
        ({"optimizer": "sgd"}, "train", 1e-2),
        ({"optimizer": "sgd", "step": 128}, "train", 4e-2),
        ({"step": 128}, "train", 4e-3),
        ({"step": 10**6}, "train", 1.6e-2),
    ],
)
def test_rates(changes: dict[str, object], statistics: str, expected: float) -> None:
    assert rules.rate(situation(**changes), statistics).value == pytest.approx(expected, rel=0.01)


def test_every_optimizer_has_a_rate() -> None:
    from transfer_cli.config.optimizers import OPTIMIZERS

    assert rules.OPTIMIZERS.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize(
    ("images", "step", "expected"),
    [(50, 32, 100), (200, 32, 40), (1259, 32, 7), (50_000, 32, 5), (10**6, 256, 5), (1, 32, 100), (0, 32, 100)],
)
def test_epochs_make_enough_steps(images: int, step: int, expected: int) -> None:
    assert rules.epochs(images, step).value == expected


def test_few_images_keep_the_statistics_of_the_weights() -> None:
    assert rules.batch_norm(situation(images=999)).value == "frozen"
    assert rules.batch_norm(situation(images=1000)).value == "train"
    assert rules.batch_norm(situation(images=50, pretrained=False)).value == "train"
    assert rules.batch_norm(situation(images=50, family="attention")).value == "train"


def test_only_a_long_training_ends_early() -> None:
    found = [rules.patience(epochs) for epochs in (7, 19, 20, 94)]
    assert [None if one is None else one.value for one in found] == [None, None, 5, 24]


def test_a_head_is_fitted_where_training_starts_from_its_features() -> None:
    assert rules.head_init(situation(can_probe=True), "frozen").value == "zero"
    assert rules.head_init(situation(can_probe=True), "train").value == "zero"
    assert rules.head_init(situation(can_probe=True, family="attention"), "train").value == "probe"
    assert rules.head_init(situation(), "frozen").value == "zero"


def test_lower_stages_of_transformers_learn_more_slowly() -> None:
    assert rules.layer_decay(situation(family="attention")).value == 0.75
    assert rules.layer_decay(situation(family="attention", adapter="lora")).value == 1
    assert rules.layer_decay(situation()).value == 1


@pytest.mark.parametrize(("words", "expected"), [([], "lbfgs"), (["optimizer.lr=1e-3"], "optimizer")])
def test_a_head_that_was_given_a_rate_is_trained_at_it(words: list[str], expected: str) -> None:
    """Solved for, it would be the same whatever the rate, and so would the jobs of a sweep over rates."""
    assert rules.solver(experiment("strategy=extract", *words), images=100, validation=50).value == expected
