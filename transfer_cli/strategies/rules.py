"""What settings of finetuning and distillation become where they say auto, by rule: each with its reason.

Rates are for AdamW and steps of 32 images. Where each comes from:

- BatchNorm, depthwise (EfficientNet, MobileNet): 2e-3, the best of three rates on four image sets that ship with this
  project's evidence (tests/benchmarks/evidence), a new head at zero.
- BatchNorm, dense (ResNet, RegNet, DenseNet, VGG): 1e-3, what fastai's `fine_tune` takes once all layers train (half of
  its 2e-3: Howard 2020, arXiv 2002.04688).
- LayerNorm, attention (ViT, DeiT, BEiT, Swin): 1e-4, MAE's finetuning at 1e-3 for batches of 256, linear in the batch,
  with layer decay 0.75 (He 2022, arXiv 2111.06377; Bao 2022, arXiv 2106.08254).
- LayerNorm, convolutions (ConvNeXt): 2e-4 with layer decay 0.8: its 5e-5 is for 512 images that are of the classes it
  was pretrained for, and small sets take a few times that (Liu 2022, arXiv 2201.03545).
- Neither (GroupNorm, weight standardisation: BiT, NFNet): 2e-4, between the two.
- Low-rank updates: ten times the rate of all weights (Hu 2021, arXiv 2106.09685; Schulman 2025, "LoRA Without Regret"),
  but never above 5e-3; biases alone likewise (Ben Zaken 2022, arXiv 2106.10199).
- Random weights: 2e-3 with BatchNorm; without it 5e-4, DeiT's for batches of 512 (Touvron 2021, arXiv 2012.12877).
- BatchNorm that stays as it was: a quarter, measured on the same sets.

Steps of another size: the square root for what divides by the gradient's size (Malladi 2022, arXiv 2205.10287), linear
for SGD (Goyal 2017, arXiv 1706.02677), up to eight times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from transfer_cli.config.auto import AUTO
from transfer_cli.config.extract import Extract
from transfer_cli.config.schema import Experiment
from transfer_cli.models.families import Family

Statistics = Literal["train", "frozen"]
Value = TypeVar("Value", covariant=True)

PRETRAINED: dict[Family, float] = {
    "depthwise": 2e-3,
    "dense": 1e-3,
    "attention": 1e-4,
    "convnext": 2e-4,
    "other": 2e-4,
}
RANDOM: dict[Family, float] = {**dict.fromkeys(PRETRAINED, 5e-4), "depthwise": 2e-3, "dense": 2e-3}
LAYER_DECAY: dict[Family, float] = {"attention": 0.75, "convnext": 0.8}
# A head on features that do not change.
HEAD_RATE, HEAD_EPOCHS, HEAD_BATCH = 2e-3, 20, 256
ADAPTERS, HIGHEST = 10.0, 5e-3
FROZEN_STATISTICS = 0.25
# Rates of other optimizers as multiples of AdamW's.
OPTIMIZERS = {
    "adamw": 1.0,
    "adam": 1.0,
    "nadamw": 1.0,
    "radam": 3.0,
    "rmsprop": 0.5,
    "lamb": 2.5,
    # Three to ten times below AdamW (Chen 2023, arXiv 2302.06675).
    "lion": 0.3,
    "muon": 1.0,
    "adafactor": 15.0,
    "sgd": 5.0,
}
USUAL_BATCH, LARGEST_SCALE = 32, 8.0
FEW_IMAGES = 1000
# The average of about thirty steps; 0.9 did as well.
FEW_IMAGES_EMA = 0.97
# With more training images than this a fitted head is hardly ever better than training, and takes minutes to fit.
PROBED_IMAGES = 20_000
STEPS, SHORTEST, LONGEST = 280, 5, 100
# On those image sets a quarter of the epochs saved a third of the time, for 0.2 points on validation.
WAITED_SHARE, WAITS_FROM = 4, 20


@dataclass(frozen=True)
class Choice(Generic[Value]):
    """A value in place of auto, and why."""

    value: Value
    reason: str


@dataclass(frozen=True)
class Situation:
    """All that the rules look at."""

    family: Family
    pretrained: bool
    images: int
    """To train on."""
    step: int
    """Images of a step."""
    optimizer: str
    adapter: str = "none"
    head_only: bool = False
    can_probe: bool = False
    """Whether a head can be fitted to the frozen features."""

    @property
    def few(self) -> bool:
        """Whether there are too few images to say much about statistics."""
        return self.images < FEW_IMAGES

    @property
    def normalises_batches(self) -> bool:
        """Whether BatchNorm makes the network what it is."""
        return self.family in ("depthwise", "dense")


def solver(e: Experiment, images: int, validation: int) -> Choice[Literal["lbfgs", "optimizer"]]:
    """How a head on frozen features is fitted: exactly, where that takes seconds and there is a penalty to choose."""
    config = e.strategy
    assert isinstance(config, Extract)
    if config.head == "mlp" or config.grid.lr or config.grid.weight_decay or config.grid.seed:
        return Choice("optimizer", "an mlp and a grid are trained")
    if e.optimizer.lr != AUTO:
        return Choice("optimizer", "a rate is for training")
    if e.augment.views or e.dataset.sampler == "balanced" or config.label_smoothing:
        return Choice("optimizer", "views, balanced draws and label smoothing are for training")
    if validation == 0:
        return Choice("optimizer", "no validation images to choose a penalty by")
    if images > PROBED_IMAGES:
        return Choice("optimizer", f"{images:,} images")
    return Choice("lbfgs", "logistic regression, its penalty chosen on validation")


def epochs(images: int, step: int) -> Choice[int]:
    """As many as make 280 steps, 5 to 100."""
    steps = max(-(-images // step), 1)
    count = min(max(-(-STEPS // steps), SHORTEST), LONGEST)
    return Choice(count, f"{count * steps:,} steps of {min(step, images)} for {images:,} images")


def patience(epochs: int) -> Choice[int] | None:
    """Epochs without a better one after which training ends; None where there are so few that all are needed."""
    if epochs < WAITS_FROM:
        return None
    return Choice(-(-epochs // WAITED_SHARE), f"a quarter of {epochs} epochs without a better one")


def evaluate_every(images: int, validation: int) -> Choice[int]:
    """Epochs between two evaluations, so that these take no longer than training: a step is three passes."""
    every = min(max(-(-validation // max(3 * images, 1)), 1), 10)
    return Choice(every, f"{validation:,} images to validate on, {images:,} to train on")


def batch_norm(s: Situation) -> Choice[Statistics]:
    """Statistics of batches, or those that came with the weights."""
    if not s.normalises_batches or not s.pretrained:
        return Choice("train", "")
    if s.few:
        return Choice("frozen", f"{s.images:,} images say less about statistics than the weights do")
    return Choice("train", f"{s.images:,} images are enough for statistics of their own")


def head_init(s: Situation, statistics: str) -> Choice[Literal["zero", "probe"]]:
    """Zero, or fitted to the frozen features where these are what training starts from."""
    if not s.can_probe:
        return Choice("zero", "nothing to fit it to")
    if not s.normalises_batches:
        return Choice("probe", "training starts from the features that it was fitted to")
    if statistics == "train":
        return Choice("zero", "statistics of batches would undo a fitted one")
    return Choice("zero", "features learn more under a head that knows nothing yet")


def layer_decay(s: Situation) -> Choice[float]:
    """The rate of a stage as a multiple of that of the stage above it."""
    whole = s.pretrained and s.adapter == "none" and not s.head_only
    return Choice(LAYER_DECAY.get(s.family, 1.0) if whole else 1.0, NAMES[s.family])


def average(s: Situation) -> Choice[float]:
    """Decay of the average of the weights (EMA), 0 for none."""
    if s.few and s.pretrained:
        return Choice(FEW_IMAGES_EMA, f"with {s.images:,} images an average is steadier than any epoch")
    return Choice(0.0, "")


def wise_ft(s: Situation, *, keeps_probe: bool) -> Choice[bool]:
    """Whether to mix the trained weights with those of the frozen network and its fitted head."""
    if keeps_probe and s.few:
        return Choice(
            True, f"with {s.images:,} images a mean of frozen and trained weights is often better than either"
        )
    return Choice(False, "")


def rate(s: Situation, statistics: str = "train") -> Choice[float]:
    """The learning rate at its highest."""
    if s.head_only:
        base, why = HEAD_RATE, "the head alone"
    elif not s.pretrained:
        base, why = RANDOM[s.family], f"random weights, {NAMES[s.family]}"
    else:
        base, why = PRETRAINED[s.family], NAMES[s.family]
        if s.normalises_batches and statistics == "frozen":
            base, why = base * FROZEN_STATISTICS, f"{why}, its statistics frozen"
        if s.adapter != "none":
            base, why = min(base * ADAPTERS, HIGHEST), f"{why}, {s.adapter}"
    ratio = s.step / USUAL_BATCH
    scale = min(ratio if s.optimizer == "sgd" else math.sqrt(ratio), LARGEST_SCALE)
    value = float(f"{base * OPTIMIZERS[s.optimizer] * scale:.2g}")
    return Choice(value, f"{s.optimizer}, {why}, steps of {s.step}")


NAMES: dict[Family, str] = {
    "depthwise": "depthwise convolutions with BatchNorm",
    "dense": "convolutions with BatchNorm",
    "attention": "attention with LayerNorm",
    "convnext": "convolutions with LayerNorm",
    "other": "no BatchNorm and no LayerNorm",
}
