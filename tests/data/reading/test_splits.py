from collections.abc import Callable

import numpy as np
import pytest

from transfer_cli.data.reading.splits import Indices, Samples, carve, check_fraction, fold, reduce_train
from transfer_cli.errors import UserError

CLASSES = ("ant", "bee", "cow")


def table(*counts: int) -> tuple[list[str], np.ndarray]:
    labels = np.repeat(np.arange(len(counts)), counts)
    keys = [f"{CLASSES[label]}/{number}" for label, count in enumerate(counts) for number in range(count)]
    return keys, labels


def carved(keys: list[str], labels: np.ndarray, seed: int = 0, **fractions: float) -> dict[str, set[str]]:
    parts = carve(Samples(keys, labels, CLASSES), np.arange(len(keys)), fractions, seed)
    return {name: {keys[index] for index in part} for name, part in parts.items()}


def test_every_sample_lands_in_one_split_and_classes_keep_their_share() -> None:
    keys, labels = table(40, 20, 10)
    parts = carve(Samples(keys, labels, CLASSES), np.arange(70), {"val": 0.1, "test": 0.3}, seed=0)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(70))
    assert np.bincount(labels[parts["val"]]).tolist() == [4, 2, 1]
    assert np.bincount(labels[parts["test"]]).tolist() == [12, 6, 3]


def test_seed_moves_samples() -> None:
    keys, labels = table(40, 20, 10)
    assert carved(keys, labels, 0, val=0.2) == carved(keys, labels, 0, val=0.2)
    assert carved(keys, labels, 0, val=0.2) != carved(keys, labels, 1, val=0.2)


def test_files_added_to_another_class_move_nothing() -> None:
    before = carved(*table(40, 20), val=0.2, test=0.2)
    after = carved(*table(40, 50), val=0.2, test=0.2)
    for split in before:
        assert {k for k in before[split] if k[0] == "a"} == {k for k in after[split] if k[0] == "a"}


def test_listing_order_is_irrelevant() -> None:
    keys, labels = table(10, 10)
    assert carved(keys, labels, val=0.3) == carved(keys[::-1], labels[::-1], val=0.3)


def test_three_images_fill_three_splits() -> None:
    parts = carved(*table(3, 3), val=0.01, test=0.01)
    assert [len(part) for part in parts.values()] == [2, 2, 2]


def test_a_class_too_small_is_named() -> None:
    with pytest.raises(UserError, match=r"class 'bee' has 2 image\(s\).*val, test.*dataset.val_fraction=0.1"):
        carved(*table(10, 2), val=0.1, test=0.1)


def test_fractions_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="below 1"):
        carved(*table(10, 10), val=0.5, test=0.5)


def test_fraction_zero_makes_an_empty_split() -> None:
    parts = carved(*table(10, 10), val=0.5, test=0.0)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [10, 10, 0]


@pytest.mark.parametrize("value", [-0.1, 0.0, 1.0, 1.5, float("nan")])
def test_impossible_fractions_name_their_key(value: float) -> None:
    with pytest.raises(UserError, match=r"dataset\.val_fraction"):
        check_fraction("dataset.val_fraction", value, zero=False)


def reduced(counts: tuple[int, ...], fraction: float = 1.0, shots: int | None = None) -> tuple[list[int], tuple]:
    keys, labels = table(*counts)
    return reduce_train(Samples(keys, labels, CLASSES), np.arange(len(keys)), fraction, shots, seed=0)


def test_train_fraction_is_stratified_and_nested() -> None:
    small, _ = reduced((40, 20, 2), fraction=0.1)
    large, _ = reduced((40, 20, 2), fraction=0.5)
    _, labels = table(40, 20, 2)
    assert np.bincount(labels[small]).tolist() == [4, 2, 1]
    assert set(small) < set(large)


def test_shots_take_so_many_a_class_and_say_where_there_are_fewer() -> None:
    kept, notes = reduced((40, 20, 2), shots=5)
    _, labels = table(40, 20, 2)
    assert np.bincount(labels[kept]).tolist() == [5, 5, 2]
    assert "cow (2)" in notes[0]


@pytest.mark.parametrize(("fraction", "shots"), [(0.0, None), (1.1, None), (1.0, 0), (0.5, 5)])
def test_impossible_reductions_are_refused(fraction: float, shots: int | None) -> None:
    with pytest.raises(UserError, match=r"dataset\.(train_fraction|shots)"):
        reduced((10, 10), fraction=fraction, shots=shots)


def bursts(*counts: int, size: int = 4) -> Samples:
    """Classes of so many images, each `size` of which are a group."""
    keys, labels = table(*counts)
    return Samples(keys, labels, CLASSES, [f"{key[0]}{int(key.split('/')[1]) // size}" for key in keys])


def groups_in(samples: Samples, part: np.ndarray) -> set[str]:
    assert samples.groups is not None
    return {samples.groups[index] for index in part}


def test_no_split_divides_a_group() -> None:
    samples = bursts(40, 20)
    parts = carve(samples, np.arange(60), {"val": 0.2, "test": 0.2}, seed=0)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(60))
    found = [groups_in(samples, part) for part in parts.values()]
    assert sum(map(len, found)) == len(set().union(*found)) == 15
    assert np.bincount(samples.labels[parts["test"]]).tolist() == [8, 4]


def test_groups_of_one_are_images() -> None:
    keys, labels = table(10, 10)
    alone = carve(Samples(keys, labels, CLASSES, keys), np.arange(20), {"val": 0.3, "test": 0.2}, seed=3)
    plain = carve(Samples(keys, labels, CLASSES), np.arange(20), {"val": 0.3, "test": 0.2}, seed=3)
    assert {name: part.tolist() for name, part in alone.items()} == {n: p.tolist() for n, p in plain.items()}


def test_large_groups_leave_one_for_each_split() -> None:
    samples = bursts(12, 12)
    parts = carve(samples, np.arange(24), {"val": 0.4, "test": 0.4}, seed=0)
    assert [len(groups_in(samples, part)) for part in parts.values()] == [2, 2, 2]
    with pytest.raises(UserError, match=r"class 'ant' has 8 image\(s\) in 2 group\(s\): too few to split into train"):
        carve(bursts(8, 12), np.arange(20), {"val": 0.1, "test": 0.1}, seed=0)


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_are_disjoint_complete_and_stratified(grouped: bool) -> None:
    keys, labels = table(40, 20)
    samples = bursts(40, 20) if grouped else Samples(keys, labels, CLASSES)
    own = {"train": np.arange(60)}
    tests = []
    for number in range(5):
        parts = fold(samples, own, 5, number, seed=0)
        assert sorted(np.concatenate(list(parts.values()))) == list(range(60))
        assert np.bincount(labels[parts["test"]]).tolist() == [8, 4]
        if grouped:
            assert not groups_in(samples, parts["test"]) & groups_in(samples, parts["train"])
        tests.append(parts["test"])
    assert sorted(np.concatenate(tests)) == list(range(60))
    assert fold(samples, own, 5, 0, seed=1)["test"].tolist() != tests[0].tolist()


def test_of_a_set_with_a_test_split_a_fold_is_for_validation() -> None:
    keys, labels = table(20, 20)
    own = {"train": np.arange(0, 30), "val": np.arange(30, 35), "test": np.arange(35, 40)}
    parts = [fold(Samples(keys, labels, CLASSES), own, 3, number, seed=0) for number in range(3)]
    assert all({*part} == {"train", "val"} for part in parts)
    assert sorted(np.concatenate([part["val"] for part in parts])) == list(range(35))


def test_more_folds_than_images_are_refused() -> None:
    keys, labels = table(20, 4)
    with pytest.raises(
        UserError, match=r"class 'bee' has 4 image\(s\): too few to split into 5 parts \(dataset.folds=5\)"
    ):
        fold(Samples(keys, labels, CLASSES), {"train": np.arange(24)}, 5, 0, seed=0)


def test_a_class_that_groups_leave_untrained_is_refused() -> None:
    """All two images of the third class are in a group that is mostly of another one."""
    keys, labels = table(24, 12)
    groups = [f"{'ab'[label]}{index // 4}" for index, label in enumerate(labels)]
    samples = Samples([*keys, "x", "y"], np.append(labels, [2, 2]), (*CLASSES, "cow"), [*groups, groups[0], groups[0]])
    pool = np.arange(38)

    def are_trained(split: Callable[[], dict[str, Indices]]) -> bool:
        try:
            return 2 in samples.labels[split()["train"]]
        except UserError as error:
            if "class 'cow' has no training images" not in str(error):
                raise
            return False

    folds = [are_trained(lambda n=number: fold(samples, {"train": pool}, 3, n, seed=0)) for number in range(3)]
    assert sorted(folds) == [False, True, True]
    seeds = [are_trained(lambda n=seed: carve(samples, pool, {"val": 0.3, "test": 0.3}, n)) for seed in range(20)]
    assert {*seeds} == {False, True}
    with pytest.raises(UserError, match="has no training images"):
        carve(samples, pool, {"val": 0.3, "test": 0.3}, seeds.index(False))
