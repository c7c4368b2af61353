"""Whether a network learns at all: what its first loss and its accuracies say against guessing."""

from __future__ import annotations

import math
from dataclasses import dataclass

CERTAIN = 3.0
"""Standard errors above guessing that count as knowing something."""
FAR = 1.5
"""A first loss of so many times that of guessing undoes what was pretrained."""
WARN_AFTER, STOP_AFTER = 50, 200
"""Steps at chance before a warning, and before it is hopeless in the second half of a run."""
CAUSES = (
    "Likely causes: optimizer.lr is too high or too low, strategy.batch_norm=frozen on images unlike those of "
    "pretraining, or labels that do not belong to the images (look at plots/samples.png)"
)


@dataclass(frozen=True)
class Watch:
    """What guessing would reach on the images of a run."""

    classes: int
    share: float
    """Of the most frequent class among the training images."""
    images: int
    val_images: int

    def says_of_first(self, loss: float) -> str | None:
        """A warning where the loss of the first step is far above that of guessing."""
        guessing = math.log(self.classes)
        if not loss > FAR * guessing:
            return None
        return (
            f"the first loss is {loss:.2f}, where guessing has {guessing:.2f}: the head starts with strong opinions, "
            "and its first gradients disturb what was pretrained; see strategy.head_init=zero"
        )

    def guesses(self, accuracy: float, val_accuracy: float | None) -> bool:
        """Whether an epoch's accuracies in training and on validation are no better than guessing."""
        val = self.share if val_accuracy is None else val_accuracy
        return accuracy <= self._limit(self.images) and val <= self._limit(max(self.val_images, 1))

    def _limit(self, count: int) -> float:
        return self.share + CERTAIN * math.sqrt(self.share * (1 - self.share) / count)
