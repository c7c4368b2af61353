"""Types and limits of the keys of `optimizer=` and `scheduler=`, and the class behind each optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from transfer_cli.config.convert import Between, Count, Fraction, NotNegative, Positive, Share

Momentum = Annotated[float, Between(0, 0.9999)]
Betas = tuple[Momentum, Momentum]


@dataclass(frozen=True)
class Sgd:
    """`optimizer=sgd`."""

    name: str
    lr: Positive | Literal["auto"]
    weight_decay: NotNegative
    momentum: Fraction
    nesterov: bool


@dataclass(frozen=True)
class AdamFamily:
    """`optimizer=adamw`, `adam` (whose decay is an L2 penalty), `nadamw`, `radam` or `lamb`."""

    name: str
    lr: Positive | Literal["auto"]
    weight_decay: NotNegative
    betas: Betas
    eps: Positive


@dataclass(frozen=True)
class RmsProp:
    """`optimizer=rmsprop`."""

    name: str
    lr: Positive | Literal["auto"]
    weight_decay: NotNegative
    momentum: Momentum
    alpha: Momentum
    eps: Positive


@dataclass(frozen=True)
class Lion:
    """`optimizer=lion`."""

    name: str
    lr: Positive | Literal["auto"]
    weight_decay: NotNegative
    betas: Betas


@dataclass(frozen=True)
class Adafactor:
    """`optimizer=adafactor`."""

    name: str
    lr: Positive | Literal["auto"]
    weight_decay: NotNegative
    decay: Annotated[float, Between(0.1, 1)]
    clip: Positive


@dataclass(frozen=True)
class Muon:
    """`optimizer=muon`."""

    name: str
    lr: Positive | Literal["auto"]
    weight_decay: NotNegative
    momentum: Momentum
    nesterov: bool
    betas: Betas
    eps: Positive


@dataclass(frozen=True)
class Smooth:
    """`scheduler=cosine`, `onecycle` or `linear`."""

    name: Literal["cosine", "onecycle", "linear"]
    warmup: NotNegative
    start: Fraction
    final: Fraction


@dataclass(frozen=True)
class Constant:
    """`scheduler=constant`."""

    name: Literal["constant"]
    warmup: NotNegative
    start: Fraction


@dataclass(frozen=True)
class Polynomial:
    """`scheduler=polynomial`."""

    name: Literal["polynomial"]
    warmup: NotNegative
    start: Fraction
    final: Fraction
    power: Positive


@dataclass(frozen=True)
class Stairs:
    """`scheduler=step`."""

    name: Literal["step"]
    warmup: NotNegative
    start: Fraction
    every: Positive
    factor: Share


@dataclass(frozen=True)
class Restarts:
    """`scheduler=restarts`."""

    name: Literal["restarts"]
    warmup: NotNegative
    start: Fraction
    final: Fraction
    cycles: Count
    growth: Annotated[float, Between(1, 100)]


@dataclass(frozen=True)
class Plateau:
    """`scheduler=plateau`."""

    name: Literal["plateau"]
    warmup: NotNegative
    start: Fraction
    final: Fraction
    factor: Share
    patience: Count
    min_delta: NotNegative


Optimizer = Sgd | AdamFamily | RmsProp | Lion | Adafactor | Muon
Scheduler = Smooth | Constant | Polynomial | Stairs | Restarts | Plateau


def _by_name(config: Any) -> dict[str, Any]:
    """Keys that are arguments of the same name; rate and decay belong to each group of parameters."""
    return {key: value for key, value in asdict(config).items() if key not in ("name", "lr", "weight_decay")}


@dataclass(frozen=True)
class Kind:
    """An optimizer: its keys, and the class that is imported where it is used."""

    keys: type
    path: str
    fused: bool = False
    """Whether one kernel moves all weights, on CPU and CUDA."""
    arguments: Callable[[Any], dict[str, Any]] = _by_name
    """Keys to the constructor's arguments."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments, the same for every run."""


OPTIMIZERS: dict[str, Kind] = {
    "sgd": Kind(Sgd, "torch.optim.SGD", fused=True),
    "adamw": Kind(AdamFamily, "torch.optim.AdamW", fused=True),
    "adam": Kind(AdamFamily, "torch.optim.Adam", fused=True),
    "nadamw": Kind(AdamFamily, "timm.optim.nadamw.NAdamW"),
    "radam": Kind(AdamFamily, "torch.optim.RAdam", fixed={"decoupled_weight_decay": True, "foreach": True}),
    "rmsprop": Kind(RmsProp, "torch.optim.RMSprop"),
    # Its own clipping would hide from trainer.clip_grad.
    "lamb": Kind(AdamFamily, "timm.optim.lamb.Lamb", fixed={"max_grad_norm": None}),
    "lion": Kind(Lion, "timm.optim.lion.Lion"),
    "adafactor": Kind(
        Adafactor, "torch.optim.Adafactor", arguments=lambda config: {"beta2_decay": -config.decay, "d": config.clip}
    ),
    # Scaled so (Liu 2025, arXiv 2502.16982), a matrix moves as far as AdamW would move it: one rate serves both kinds
    # of group. Nesterov momentum is said by group.
    "muon": Kind(
        Muon,
        "timm.optim.muon.Muon",
        arguments=lambda config: {"momentum": config.momentum, "betas": config.betas, "eps": config.eps},
        fixed={"adjust_lr_fn": "match_rms_adamw", "conv_mode": "flatten"},
    ),
}
SCHEDULERS: dict[str, type] = {
    "cosine": Smooth,
    "onecycle": Smooth,
    "linear": Smooth,
    "constant": Constant,
    "polynomial": Polynomial,
    "step": Stairs,
    "restarts": Restarts,
    "plateau": Plateau,
}


def step_problems(scheduler: Scheduler) -> list[str]:
    """Lengths that are neither a fraction of the run nor whole steps."""
    lengths = {"warmup": scheduler.warmup, **({"every": scheduler.every} if isinstance(scheduler, Stairs) else {})}
    return [
        f"scheduler.{key}={value}: a fraction of the run (0 to 1) or a whole number of steps."
        for key, value in lengths.items()
        if 1 < value != int(value)
    ]
