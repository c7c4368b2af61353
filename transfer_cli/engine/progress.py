"""How far a training has come: what a state brings back beside weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from transfer_cli.engine.best import Best
from transfer_cli.engine.loop import Cursor
from transfer_cli.engine.state_files import Part
from transfer_cli.engine.task import Task
from transfer_cli.engine.totals import Totals


@dataclass
class Progress:
    """How far a fit has come."""

    task: Task
    totals: Totals
    """Of the current epoch."""
    cursor: Cursor = field(default_factory=Cursor)
    best: Best[str] = field(default_factory=Best)
    """`kept` is the name of the state with its weights."""
    history: list[float] = field(default_factory=list)
    """How each epoch so far ranks on validation, the larger the better: for patience and a plateau schedule."""
    train_seconds: float = 0.0
    images: int = 0
    guessing: int | None = 0
    """Epochs from the first on that were no better than guessing; None once one was."""
    planned_steps: int = 0
    """Of the whole fit, whose schedule ends there."""
    planned_before: int | None = None
    """What an earlier process had planned, where the fit goes on from its state; None: not known."""

    @property
    def images_per_second(self) -> float:
        """In training alone, over the whole run so far."""
        return self.images / max(self.train_seconds, 1e-9)

    def state(self) -> Part:
        """All of it; the device synchronises here."""
        plain = {"history": self.history, "train_seconds": self.train_seconds, "images": self.images}
        plain |= {"guessing": self.guessing, "planned_steps": self.planned_steps}
        own = {"cursor": asdict(self.cursor), "best": self.best.to_dict(), "totals": self.totals.to_dict()}
        return Part({**own, **plain})

    def restore(self, part: Part) -> None:
        """Stand where the state was saved."""
        values = part.values
        self.cursor, self.best = Cursor(**values["cursor"]), Best.from_dict(values["best"])
        self.history, self.totals = values["history"], self.totals.from_dict(values["totals"])
        self.train_seconds, self.images = values["train_seconds"], values["images"]
        self.guessing, self.planned_before = values.get("guessing"), values.get("planned_steps")
