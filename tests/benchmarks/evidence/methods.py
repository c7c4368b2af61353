"""Every method by name, and how it is run: our recipes by their words, peers by the function that stands for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One of our own commands, without what every run is given (data, size, epochs, seed)."""

    words: tuple[str, ...]
    passes: bool = True
    """Whether it takes trainer.epochs; a solver has none."""
    tuned: bool = False
    """Whether evidence.rates are tried."""


@dataclass(frozen=True)
class Peer:
    """Another tool with its own settings, in a module of peers/ as `fit`."""

    module: str
    options: tuple[tuple[str, float], ...] = ()


DEFAULT = "finetune"
METHODS: dict[str, Recipe | Peer] = {
    # The bare default, whatever it is today: nothing that could be a default is named.
    DEFAULT: Recipe(("strategy=finetune",)),
    "probe": Recipe(("strategy=extract", "strategy.solver=lbfgs"), passes=False),
    "lp_ft": Recipe(("experiment=lp_ft",), tuned=True),
    "l2sp": Recipe(("experiment=small_data_l2sp", "dataset.shots=null"), tuned=True),
    "lora": Recipe(("experiment=lora",), tuned=True),
    "full": Recipe(("experiment=full",), tuned=True),
    "sklearn": Peer("sklearn_probe"),
    "fastai": Peer("fastai_fine_tune"),
    "timm": Peer("timm_train", (("rate", 0.1),)),
    "timm_tenth": Peer("timm_train", (("rate", 0.01),)),
    "tutorial": Peer("torch_tutorial"),
}
ADAPTING = ("probe", "lp_ft", "l2sp", "lora", "full")
"""What the default is compared with at a few shots."""
