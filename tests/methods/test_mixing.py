"""Mixup and cutmix: what is pasted is what the label says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transfer_cli.data.views.mixing import Mixes, draw
from transfer_cli.methods.mixing import mix_images, mix_targets

SIZE = (20, 30)
BOTH = {"mixup": 0.2, "cutmix": 1.0}


def drawn(indices: np.ndarray, view: int = 3, seed: int = 5, **alphas: float) -> Mixes:
    return draw(seed, view, indices, SIZE, **{"mixup": 0.0, "cutmix": 0.0, **alphas})


def flat_images(n: int) -> torch.Tensor:
    """Image i holds the value i everywhere, so that a mixture tells what it is made of."""
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 3, *SIZE)


def test_a_single_image_is_mixed_with_itself() -> None:
    image = torch.randn(1, 3, *SIZE)
    torch.testing.assert_close(mix_images(image, drawn(np.array([9]), mixup=1.0)), image)


def test_mixup_by_hand() -> None:
    mixes = Mixes(torch.tensor([1, 0]), torch.tensor([0.75, 0.5]), torch.zeros(2, 4, dtype=torch.int64))
    mixed = mix_images(flat_images(2), mixes)
    torch.testing.assert_close(mixed[0], torch.full((3, *SIZE), 0.25))
    torch.testing.assert_close(mixed[1], torch.full((3, *SIZE), 0.5))
    expected = torch.tensor([[0.0, 0.75, 0.25], [0.0, 0.5, 0.5]])
    torch.testing.assert_close(mix_targets(torch.tensor([1, 2]), mixes, 3), expected)


def test_cutmix_by_hand() -> None:
    """A box of 10 x 15 in 20 x 30 is a quarter of the image."""
    mixes = Mixes(torch.tensor([1, 0]), torch.tensor([0.75, 1.0]), torch.tensor([[0, 5, 10, 20], [0, 0, 0, 0]]))
    images = torch.randn(2, 3, *SIZE)
    mixed = mix_images(images, mixes)
    assert torch.equal(mixed[0, :, :10, 5:20], images[1, :, :10, 5:20])
    assert torch.equal(mixed[0, :, 10:], images[0, :, 10:])
    assert torch.equal(mixed[0, :, :10, 20:], images[0, :, :10, 20:])
    assert torch.equal(mixed[1], images[1])


def test_labels_say_what_was_pasted() -> None:
    """The share of an image's pixels that are its own is its label's mass, clipped boxes included."""
    n = 64
    mixes = drawn(np.arange(n), cutmix=1.0)
    pixels = mix_images(flat_images(n), mixes)[:, 0]
    own = (pixels == torch.arange(n).view(n, 1, 1)).float().mean((1, 2))
    torch.testing.assert_close(own, mixes.shares)
    assert (pixels == mixes.partners.view(n, 1, 1)).float().mean((1, 2)).add(own).allclose(torch.ones(n))
    targets = mix_targets(torch.arange(n), mixes, n)
    torch.testing.assert_close(targets[torch.arange(n), torch.arange(n)], own)


@pytest.mark.parametrize("alphas", [{"mixup": 0.2}, {"cutmix": 1.0}, BOTH], ids=["mixup", "cutmix", "both"])
def test_expected_label_mass_is_that_of_the_data(alphas: dict[str, float]) -> None:
    """Each mixture has mass 1, and over views each class keeps its frequency: mixing favours nobody."""
    labels = torch.tensor([0] * 10 + [1] * 5 + [2])
    views = [mix_targets(labels, drawn(np.arange(16), view=view, **alphas), 3) for view in range(2000)]
    mass = torch.stack(views)
    torch.testing.assert_close(mass.sum(2), torch.ones(2000, 16))
    torch.testing.assert_close(mass.sum(1).mean(0), torch.tensor([10.0, 5.0, 1.0]), atol=0.06, rtol=0)


def test_soft_targets_mix_too_and_images_keep_their_layout() -> None:
    soft = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    mixes = Mixes(torch.tensor([1, 0]), torch.tensor([0.5, 1.0]), torch.zeros(2, 4, dtype=torch.int64))
    torch.testing.assert_close(mix_targets(soft, mixes, 2), torch.tensor([[0.55, 0.45], [0.2, 0.8]]))
    images = torch.randn(2, 3, *SIZE).to(memory_format=torch.channels_last)
    assert mix_images(images, mixes).is_contiguous(memory_format=torch.channels_last)
