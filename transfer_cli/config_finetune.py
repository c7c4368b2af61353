"""The typed options of `strategy=finetune`. Values live in conf/, what they do in strategies/ and modes/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from transfer_cli.convert import Between
from transfer_cli.limits import Count, NotNegative, Positive, Share

Unfreeze = Literal["all", "head"] | Count | tuple[str, ...]


@dataclass(frozen=True)
class Finetune:
    """`strategy=finetune`: which part adapts, at which rates."""

    name: Literal["finetune"]
    unfreeze: Unfreeze
    """A number: the head and so many stages below it. Patterns of parameter names: these, and the head."""
    gradual: Annotated[int, Between(0)]
    """Epochs after which the next stage below thaws; 0: all train from the start."""
    batch_norm: Literal["train", "frozen"]
    """frozen: BatchNorm keeps statistics, weights and biases in what trains as well."""
    layer_decay: Share
    """Each stage learns at this multiple of the rate of the stage above it."""
    head_lr: Positive
    """The head's rate, as a multiple of `optimizer.lr`."""
    lr_rules: tuple[tuple[str, Positive], ...]
    """[pattern, multiplier] of parameter names, on top of the above; the first that matches counts."""
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: NotNegative
    """How much less the focal loss counts what is right already; 0 is cross-entropy."""
    label_smoothing: Annotated[float, Between(0, 0.99)]
    logit_adjustment: NotNegative
    """Tau of logit adjustment, for classes of different size; 0: off."""
    drop_path: Annotated[float, Between(0, 0.9)] | None
    """Stochastic depth, where the model has it; null: the model's own rate."""
    ema: Annotated[float, Between(0, 0.99999)]
    """Decay of the average of the weights that is evaluated and kept in place of the last ones; 0: off."""
    sam: NotNegative
    """Rho of sharpness-aware minimisation, two passes a step; 0: off."""
    cache: Literal["auto"] | bool
    """Whether what a frozen prefix makes of images is kept; auto: where it is smaller than the cache and saves work."""


def finetune_problems(config: Finetune) -> list[tuple[bool, str]]:
    """Options that make no sense together: (whether it is so, what to say)."""
    return [
        (
            config.gradual > 0 and config.unfreeze == "head",
            f"strategy.gradual={config.gradual}: with strategy.unfreeze=head there is nothing to thaw.",
        ),
        (config.unfreeze == (), "strategy.unfreeze=[]: name patterns, or say strategy.unfreeze=head."),
    ]
