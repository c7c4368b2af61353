"""What weights score on the splits that all members of a soup share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfer_cli.cache.place import open_cache
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.engine.evaluation import predict
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Classification
from transfer_cli.methods.scores import Scores, softmax
from transfer_cli.methods.soups import Weights
from transfer_cli.models.tensors import load_into
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.materials import open_pixels
from transfer_cli.runs.saved_model import Trained
from transfer_cli.runs.soup.members import Member

STOPPED = "while a soup was evaluated; the same command starts again"


@dataclass(frozen=True)
class Tasting:
    """A network that takes any of the weights, and the decoded images that score them."""

    member: Member
    trained: Trained
    decoded: DecodedSet
    task: Classification
    stop: Stop

    @classmethod
    def of(cls, member: Member, trained: Trained, reporter: Reporter, stop: Stop) -> Tasting:
        """Decodes what is not in the store yet."""
        e = member.experiment
        images = sources.load(e.dataset, e.seed)
        held_out = np.union1d(images.splits["val"], images.splits["test"])
        requests = [PixelRequest(formats.evaluation(trained.about.preprocessing), held_out)]
        cache = open_cache(e.cache_dir, e.cache_size, reporter.warn)
        decoded = open_pixels(e, images, requests, cache, reporter, stop)
        return cls(member, trained, decoded, Classification(trained.about.classes, e.trainer.metric), stop)

    def outputs(self, weights: Weights, split: str) -> NDArray[np.float32]:
        """Logits [N, K] of a split that has images. Raises Stopped."""
        e, trained = self.member.experiment, self.trained
        load_into(trained.network.module, weights)
        batches = trained.batches(self.decoded, split, e)
        found = predict(trained.network, batches, trained.compute, trained.to_device, self.stop)
        if found is None:
            self.stop.check(STOPPED)
        assert found is not None
        return found[0]

    def scores(self, weights: Weights, split: str) -> Scores:
        """Of a split that has images. Raises Stopped."""
        return self.scores_of(self.outputs(weights, split), split)

    def scores_of(self, logits: NDArray[np.float32], split: str) -> Scores:
        """Of the logits of a split."""
        images = self.decoded.images
        return self.task.scores(logits, images.labels[images.splits[split]])

    def has(self, split: str) -> bool:
        """Whether a split has images."""
        return len(self.decoded.images.splits[split]) > 0


def together(logits: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logits whose probabilities are the mean of the probabilities of each."""
    mean = np.mean([softmax(one) for one in logits], axis=0)
    found: NDArray[np.float32] = np.log(np.maximum(mean, np.finfo(np.float32).tiny)).astype(np.float32)
    return found
