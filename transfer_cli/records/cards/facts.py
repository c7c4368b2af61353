"""What is known of a run for its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from transfer_cli.records.pages.predicted import OfClass, Predicted, by_class

Facts = Mapping[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class CardFacts:
    """The contents of its files; of what is missing there is nothing."""

    name: str
    """Of its directory."""
    summary: Facts
    config: Facts
    environment: Facts
    dataset: Facts
    model: Facts
    """`model.json`."""
    predicted: Predicted | None
    """Of the test split, where some of its images have labels."""
    intervals: Mapping[str, Interval]
    """95 % intervals of scores on the test split, by name."""
    pictures: Sequence[str] = ()
    """Files in `plots/`."""
    exports: Sequence[Facts] = ()
    """`export.json` of each export in the run, with its `folder`."""
    soup: Facts = field(default_factory=dict)
    """`soup.json`, of a soup."""
    searched: bool = False
    """Whether candidates for its settings were compared."""

    def of(self, group: str) -> Facts:
        """A group of the settings."""
        found = self.config.get(group)
        return found if isinstance(found, Mapping) else {}

    @property
    def classes(self) -> Sequence[str]:
        """What its model tells apart."""
        return tuple(self.model.get("classes") or ())

    @property
    def averaged(self) -> str:
        """Of a soup, what its weights are; it may be no soup at all, where no average was better."""
        name = str(self.summary.get("soup") or "")
        recipes = {one["recipe"]: one["runs"] for one in self.soup.get("recipes") or []}
        if name == "best run":
            most = max((len(runs) for runs in recipes.values()), default=0)
            return f"the best of {most} runs, none of whose averages was better on validation"
        if name.startswith("wise_ft"):
            return f"weights {name.removeprefix('wise_ft ')} of the way from where a run started to where it ended"
        return f"the average of the weights of {len(recipes.get(name, []))} runs ({name})" if name else ""

    @property
    def learns(self) -> bool:
        """Whether weights were trained step by step, and not solved for."""
        solver = self.of("strategy").get("solver")
        return not self.as_it_was and (self.summary.get("strategy") != "extract" or solver == "optimizer")

    @property
    def as_it_was(self) -> bool:
        """Whether no epoch of finetuning was better than a head on the network as it was, which is called epoch 0."""
        return self.summary.get("strategy") == "finetune" and self.summary.get("best_epoch") == 0

    @property
    def tested(self) -> bool:
        """Whether there are scores on a test split: an image without a label has none."""
        return (self.summary.get("test") or {}).get("accuracy") is not None

    @property
    def data_name(self) -> str:
        """What to call the images: the last part of their path, else the name of the data set."""
        path = self.of("dataset").get("path")
        name = PurePath(path.rstrip("/")).name if isinstance(path, str) else ""
        return name or str(self.summary.get("dataset") or self.dataset.get("name") or "images")

    @property
    def images(self) -> Mapping[str, int]:
        """How many there are in each split."""
        return self.dataset.get("images") or {}

    @property
    def trained_on(self) -> Mapping[str, int]:
        """How many images of each class it was trained on."""
        return (self.dataset.get("images_of_class") or {}).get("train") or {}

    def by_class(self) -> list[OfClass]:
        """How each class did on the test split; none where that is not known."""
        found = self.predicted
        return [] if found is None else by_class(found.confusion, found.classes)
