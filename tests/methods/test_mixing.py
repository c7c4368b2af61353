"""Mixup and cutmix: what is drawn depends on (seed, view, index), what is pasted is what the label says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transfer_cli.methods.mixing import Mixes, draw, mix_images, mix_targets

SIZE = (20, 30)
BOTH = {"mixup": 0.2, "cutmix": 1.0}


def drawn(indices: np.ndarray, view: int = 3, seed: int = 5, **alphas: float) -> Mixes:
    return draw(seed, view, indices, SIZE, **{"mixup": 0.0, "cutmix": 0.0, **alphas})


def same(left: Mixes, right: Mixes) -> bool:
    pairs = zip((left.partners, left.shares, left.boxes), (right.partners, right.shares, right.boxes), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def flat_images(n: int) -> torch.Tensor:
    """Image i holds the value i everywhere, so that a mixture tells what it is made of."""
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 3, *SIZE)


def test_the_same_view_twice_is_byte_equal_and_another_is_not() -> None:
    batch = np.arange(100, 132)
    assert same(drawn(batch, **BOTH), drawn(batch, **BOTH))
    for other in (drawn(batch, view=4, **BOTH), drawn(batch, seed=6, **BOTH), drawn(batch + 1, **BOTH)):
        assert not same(drawn(batch, **BOTH), other)


def test_shares_and_boxes_do_not_depend_on_the_rest_of_the_batch() -> None:
    whole, part = drawn(np.arange(64), **BOTH), drawn(np.array([40, 7]), **BOTH)
    assert torch.equal(part.shares, whole.shares[[40, 7]])
    assert torch.equal(part.boxes, whole.boxes[[40, 7]])


@pytest.mark.parametrize("n", [2, 3, 32])
def test_partners_are_a_permutation_without_fixed_points(n: int) -> None:
    partners = drawn(np.arange(n), mixup=1.0).partners
    assert sorted(partners.tolist()) == list(range(n))
    assert (partners != torch.arange(n)).all()


def test_partners_are_drawn_anew_in_every_view() -> None:
    """Of 9 others each is a sample's partner in a ninth of the views, within 5 standard errors."""
    firsts = np.array([int(drawn(np.arange(10), view=view, mixup=1.0).partners[0]) for view in range(1800)])
    assert np.abs(np.bincount(firsts, minlength=10)[1:] - 200).max() < 5 * np.sqrt(200)


def test_a_single_image_is_mixed_with_itself() -> None:
    image = torch.randn(1, 3, *SIZE)
    torch.testing.assert_close(mix_images(image, drawn(np.array([9]), mixup=1.0)), image)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_mixup_shares_follow_beta(alpha: float) -> None:
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)) within five standard errors; at alpha 1 uniform."""
    n = 20_000
    shares = drawn(np.arange(n), mixup=alpha).shares.double().numpy()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 5 * np.sqrt(variance / n)
    assert shares.var() == pytest.approx(variance, rel=0.05)
    if alpha == 1.0:
        assert np.abs(np.sort(shares) - np.linspace(0, 1, n)).max() < 0.015


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


def test_cutmix_boxes_have_the_drawn_area() -> None:
    """A square of side s in the unit square keeps s - s^2 / 4 per axis at the border; s^2 is uniform at alpha 1."""
    mixes = draw(5, 3, np.arange(20_000), (2000, 3000), mixup=0.0, cutmix=1.0)
    area = 1 / 2 - 2 / 4 * 2 / 5 + 1 / 16 * 1 / 3  # E[s^2 - s^3 / 2 + s^4 / 16]
    assert float(mixes.shares.mean()) == pytest.approx(1 - area, abs=0.01)
    top, left, bottom, right = mixes.boxes.double().unbind(1)
    whole = (top > 0) & (left > 0) & (bottom < 2000) & (right < 3000)
    ratio = (right - left)[whole] / (bottom - top)[whole].clamp_min(1)
    assert float(ratio.median()) == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("alphas", [{"mixup": 0.2}, {"cutmix": 1.0}, BOTH], ids=["mixup", "cutmix", "both"])
def test_expected_label_mass_is_that_of_the_data(alphas: dict[str, float]) -> None:
    """Each mixture has mass 1, and over views each class keeps its frequency: mixing favours nobody."""
    labels = torch.tensor([0] * 10 + [1] * 5 + [2])
    views = [mix_targets(labels, drawn(np.arange(16), view=view, **alphas), 3) for view in range(2000)]
    mass = torch.stack(views)
    torch.testing.assert_close(mass.sum(2), torch.ones(2000, 16))
    torch.testing.assert_close(mass.sum(1).mean(0), torch.tensor([10.0, 5.0, 1.0]), atol=0.06, rtol=0)


def test_both_are_drawn_evenly_and_probability_leaves_the_rest_alone() -> None:
    n = 20_000
    mixes = drawn(np.arange(n), probability=0.3, **BOTH)
    height, width = mixes.boxes[:, 2] - mixes.boxes[:, 0], mixes.boxes[:, 3] - mixes.boxes[:, 1]
    cuts = (height * width > 0).double().mean()
    untouched = (mixes.shares == 1).double().mean()
    assert 0.13 < float(cuts) < 0.16
    assert 0.69 < float(untouched) < 0.74


def test_soft_targets_mix_too_and_images_keep_their_layout() -> None:
    soft = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    mixes = Mixes(torch.tensor([1, 0]), torch.tensor([0.5, 1.0]), torch.zeros(2, 4, dtype=torch.int64))
    torch.testing.assert_close(mix_targets(soft, mixes, 2), torch.tensor([[0.55, 0.45], [0.2, 0.8]]))
    images = torch.randn(2, 3, *SIZE).to(memory_format=torch.channels_last)
    assert mix_images(images, mixes).is_contiguous(memory_format=torch.channels_last)
    moved = mixes.to(torch.device("cpu"))
    assert same(mixes, moved)
