"""The typed options of `strategy=finetune`. Values live in conf/, what they do in strategies/ and runs/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from transfer_cli.config.convert import Between, Count, NotNegative, Positive, Rest, Share

Unfreeze = Literal["all", "head"] | Count | tuple[str, ...]


@dataclass(frozen=True)
class Finetune:
    """`strategy=finetune`: which part adapts, at which rates."""

    name: Literal["finetune"]
    unfreeze: Unfreeze
    """A number: the head and so many stages below it. Patterns of parameter names: these, and the head."""
    gradual: Annotated[int, Between(0)]
    """Epochs after which the next stage below thaws; 0: all train from the start."""
    adapter: Literal["none", "lora", "linear", "bitfit"]
    """What trains in place of the weights that `unfreeze` names; the head trains itself."""
    adapter_rank: Count
    adapter_alpha: Positive
    """LoRA counts for alpha / rank."""
    head_first: bool | Annotated[int, Between(0)]
    """Epochs in which the head alone is fitted to frozen features before all else (LP-FT); true: 20."""
    batch_norm: Literal["auto", "train", "frozen"]
    """frozen: BatchNorm keeps statistics, weights and biases in what trains as well."""
    layer_decay: Literal["auto"] | Share
    """Each stage learns at this multiple of the rate of the stage above it."""
    head_lr: Positive
    """The head's rate, as a multiple of `optimizer.lr`."""
    lr_rules: tuple[tuple[str, Positive], ...]
    """[pattern, multiplier] of parameter names, on top of the above; the first that matches counts."""
    loss: Literal["cross_entropy", "focal"]
    focal_gamma: NotNegative
    """How much less the focal loss counts what is right already; 0 is cross-entropy."""
    regularizers: Annotated[dict[str, dict[str, Any]], Rest()]
    """Blocks of options by the name of a regulariser, such as l2sp, bss, delta; checked where these are made."""
    label_smoothing: Annotated[float, Between(0, 0.99)]
    logit_adjustment: NotNegative
    """Tau of logit adjustment, for classes of different size; 0: off."""
    drop_path: Annotated[float, Between(0, 0.9)] | None
    """Stochastic depth, where the model has it; null: the model's own rate."""
    ema: Literal["auto"] | Annotated[float, Between(0, 0.99999)]
    """Decay of the average of the weights that is evaluated and kept in place of the last ones; 0: off."""
    sam: NotNegative
    """Rho of sharpness-aware minimisation, two passes a step; 0: off."""
    cache: Literal["auto"] | bool
    """Whether what a frozen prefix makes of images is kept; auto: where it is smaller than the cache and saves work."""
    head_init: Literal["auto", "zero", "probe", "model"] = "model"
    """How a new head starts: at zero, fitted to the frozen features by L-BFGS, or as the model draws it.

    This default and the next are for the config.yaml of runs from before there was a choice.
    """
    keep_probe: Literal["auto"] | bool = False
    """Whether the frozen network with a head fitted to its features is a candidate for the best epoch, number 0."""
    wise_ft: Literal["auto"] | bool = False
    """Whether the mean of that network's weights and the trained ones is a candidate as well, in several shares."""


HEAD_FIRST_EPOCHS = 20


def head_first_epochs(config: Finetune) -> int:
    """Epochs of the head's own fit; 0: none."""
    if isinstance(config.head_first, bool):
        return HEAD_FIRST_EPOCHS if config.head_first else 0
    return config.head_first


def finetune_problems(config: Finetune) -> list[tuple[bool, str]]:
    """Options that make no sense together: (whether it is so, what to say)."""
    return [
        (
            config.wise_ft is True and config.keep_probe is False,
            "strategy.wise_ft=true: it mixes with the fitted head that strategy.keep_probe=false leaves out.",
        ),
        (
            config.gradual > 0 and config.unfreeze == "head",
            f"strategy.gradual={config.gradual}: with strategy.unfreeze=head there is nothing to thaw.",
        ),
        (
            config.adapter != "none" and config.unfreeze == "head",
            f"strategy.adapter={config.adapter}: with strategy.unfreeze=head there is nothing to adapt.",
        ),
        (
            config.head_init == "probe" and head_first_epochs(config) > 0,
            f"strategy.head_init=probe, strategy.head_first={config.head_first}: both fit the head; use one of them.",
        ),
        (config.unfreeze == (), "strategy.unfreeze=[]: name patterns, or say strategy.unfreeze=head."),
    ]
