"""Stratified splits that depend on (seed, class, sample name) alone: files added to one class never move another's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from transfer_cli.errors import UserError

Indices = NDArray[np.int64]


def carve(
    keys: Sequence[str],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    pool: Indices,
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, Indices]:
    """Cut the splits named in `fractions` out of `pool`, class by class; what is left is "train".

    Within a class, samples are ranked by a hash of (seed, class, key). Each split gets its rounded share of the
    class, at least one sample; a class too small for that is a UserError that names it.
    """
    cut = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    if sum(cut.values()) >= 1:
        raise UserError(f"{_fraction_keys(cut)}: together they must be below 1, so that training images remain.")
    carved: dict[str, list[Indices]] = {name: [] for name in ("train", *fractions)}
    for members in _ranked_by_class(keys, labels, classes, pool, seed):
        counts = {name: max(1, round(fraction * len(members))) for name, fraction in cut.items()}
        if len(members) < 1 + sum(counts.values()):
            name = classes[labels[members[0]]]
            raise UserError(
                f"class {name!r} has {len(members)} image(s): too few to split into train, {', '.join(cut)} "
                f"({_fraction_keys(cut)}). Add images or remove the class."
            )
        start = 0
        for name, count in counts.items():
            carved[name].append(members[start : start + count])
            start += count
        carved["train"].append(members[start:])
    return {name: _sorted(chunks) for name, chunks in carved.items()}


def reduce_train(
    keys: Sequence[str],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    train: Indices,
    train_fraction: float,
    shots: int | None,
    seed: int,
) -> tuple[Indices, tuple[str, ...]]:
    """`train` cut to a fraction, or to `shots` images a class, and notes on classes that have fewer.

    Smaller choices are subsets of larger ones with the same seed; each class keeps at least one image.
    """
    if not 0 < train_fraction <= 1:
        raise UserError(f"dataset.train_fraction={train_fraction}: must be above 0 and at most 1.")
    if shots is not None and shots < 1:
        raise UserError(f"dataset.shots={shots}: must be at least 1, or null for all images.")
    if shots is not None and train_fraction < 1:
        raise UserError("dataset.shots and dataset.train_fraction both cut the training images: set one of them.")
    if shots is None and train_fraction == 1:
        return train, ()
    kept: list[Indices] = []
    short: list[str] = []
    for members in _ranked_by_class(keys, labels, classes, train, seed):
        count = shots if shots is not None else max(1, round(train_fraction * len(members)))
        kept.append(members[:count])
        if len(members) < count:
            short.append(f"{classes[labels[members[0]]]} ({len(members)})")
    notes = (
        (f"dataset.shots={shots}: fewer training images in {_listed(short)}; all of them are used.",) if short else ()
    )
    return _sorted(kept), notes


def check_fraction(key: str, value: float, *, zero: bool) -> None:
    """UserError unless 0 < value < 1 (or 0 where `zero` allows it)."""
    if not (0 < value < 1 or (zero and value == 0)):
        raise UserError(f"{key}={value}: must be {'at least' if zero else 'above'} 0 and below 1.")


def _ranked_by_class(
    keys: Sequence[str], labels: NDArray[np.int64], classes: Sequence[str], pool: Indices, seed: int
) -> list[Indices]:
    """The pool's indices, one array a class that occurs in it, each in hash order."""
    by_class = pool[np.argsort(labels[pool], kind="stable")]
    starts = np.flatnonzero(np.diff(labels[by_class], prepend=-1))
    groups = np.split(by_class, starts[1:]) if len(by_class) else []
    ranked = []
    for members in groups:
        name = classes[labels[members[0]]] if classes else ""
        prefix = hashlib.blake2b(f"{seed}\0{name}\0".encode(errors="surrogateescape"))
        digests = []
        for index in members:
            digest = prefix.copy()
            digest.update(keys[index].encode(errors="surrogateescape"))
            digests.append(digest.digest())
        ranked.append(members[sorted(range(len(members)), key=digests.__getitem__)])
    return ranked


def _sorted(chunks: list[Indices]) -> Indices:
    """All chunks in one ascending array."""
    return np.sort(np.concatenate([np.empty(0, np.int64), *chunks])).astype(np.int64)


def _fraction_keys(fractions: Mapping[str, float]) -> str:
    """How the user wrote the fractions."""
    return ", ".join(f"dataset.{name}_fraction={fraction}" for name, fraction in fractions.items())


def _listed(names: Sequence[str]) -> str:
    """Up to five names, and how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
