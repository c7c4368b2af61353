import numpy as np
import pytest

from transfer_cli.data.views.random_numbers import order, uniforms

N = 20_000


def test_a_number_depends_on_its_own_coordinates_alone() -> None:
    whole = uniforms(3, 5, np.arange(100), 4, "crop")
    some = uniforms(3, 5, np.array([70, 2]), 2, "crop")
    assert np.array_equal(some, whole[[70, 2], :2])


def test_numbers_never_change_between_releases() -> None:
    """Stored views would no longer be what recomputing gives."""
    assert uniforms(0, 0, np.array([0, 1]), 2, "crop").tolist() == [
        [0.8410791508542198, 0.991572122873411],
        [0.38242488492731797, 0.7379954460321576],
    ]
    assert order(3, 1, 8).tolist() == [4, 5, 6, 0, 7, 1, 3, 2]


@pytest.mark.parametrize("column", [0, 3])
def test_uniform(column: int) -> None:
    values = uniforms(1, 2, np.arange(N), 4, "crop")[:, column]
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    assert values.min() >= 0
    assert values.max() < 1
    assert ((counts - N / 20) ** 2 / (N / 20)).sum() < 50  # chi-square, 19 degrees of freedom: p about 1e-4


def test_coordinates_are_independent() -> None:
    """No linear relation between neighbours in any coordinate; 5 sigma of a correlation of N pairs is 0.035."""
    base = uniforms(1, 2, np.arange(N), 2, "crop")
    others = {
        "seed": uniforms(2, 2, np.arange(N), 1, "crop")[:, 0],
        "view": uniforms(1, 3, np.arange(N), 1, "crop")[:, 0],
        "swapped": uniforms(2, 1, np.arange(N), 1, "crop")[:, 0],
        "stream": uniforms(1, 2, np.arange(N), 1, "flip")[:, 0],
        "column": base[:, 1],
        "index": np.roll(base[:, 0], 1),
    }
    for coordinate, other in others.items():
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 0.035, coordinate


def test_negative_and_large_seeds_work() -> None:
    values = [uniforms(seed, 0, np.arange(3), 1, "crop").tolist() for seed in (-1, 0, 2**63, 2**64 - 2)]
    assert len({str(value) for value in values}) == 4


def test_order_is_a_new_permutation_every_epoch() -> None:
    orders = [order(7, epoch, 50) for epoch in range(4)] + [order(8, 0, 50)]
    assert all(np.array_equal(np.sort(visited), np.arange(50)) for visited in orders)
    assert len({visited.tobytes() for visited in orders}) == 5
    assert np.array_equal(orders[2], order(7, 2, 50))


def test_order_of_few_is_fair() -> None:
    """Each of 3 samples is first in a third of the epochs."""
    first = np.array([order(0, epoch, 3)[0] for epoch in range(3000)])
    assert np.abs(np.bincount(first, minlength=3) - 1000).max() < 130
