"""Stratified splits that depend on (seed, class, sample name) alone: files added to one class never move another's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfer_cli.errors import UserError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """What the splits of N samples depend on."""

    keys: Sequence[str]
    labels: NDArray[np.int64]
    """int64 [N]"""
    classes: Sequence[str]
    groups: Sequence[str] | None = None
    """Samples of one group are never in two splits; None: each stands for itself."""


def carve(samples: Samples, pool: Indices, fractions: Mapping[str, float], seed: int) -> dict[str, Indices]:
    """Cut the splits named in `fractions` out of `pool`, class by class; what is left is "train".

    Within a class, samples are ranked by a hash of (seed, class, key), or their groups likewise. Each split gets its
    rounded share of the class, at least one sample; a class too small for that, or of which groups leave none to train
    on, is a UserError that names it.
    """
    cut = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    if sum(cut.values()) >= 1:
        raise UserError(f"{_fraction_keys(cut)}: together they must be below 1, so that training images remain.")
    carved: dict[str, list[Indices]] = {name: [] for name in ("train", *fractions)}
    for units in _units_by_class(samples, pool, seed):
        images = sum(map(len, units))
        if len(units) < 1 + len(cut) or images < 1 + sum(max(1, round(share * images)) for share in cut.values()):
            raise _too_few(samples, units, f"train, {', '.join(cut)} ({_fraction_keys(cut)})")
        start = 0
        for later, (name, fraction) in zip(range(len(cut), 0, -1), cut.items(), strict=True):
            # Units until the share is reached, leaving one for each split that is still to come.
            end, count = start, 0
            while end == start or (count < max(1, round(fraction * images)) and end < len(units) - later):
                count += len(units[end])
                end += 1
            carved[name] += units[start:end]
            start = end
        carved["train"] += units[start:]
    parts = {name: _sorted(chunks) for name, chunks in carved.items()}
    _check_trained(samples, pool, parts["train"])
    return parts


def fold(samples: Samples, own: Mapping[str, Indices], folds: int, number: int, seed: int) -> dict[str, Indices]:
    """One of `folds` parts, class by class, of all samples but those of the set's own test split, and the others.

    The part is "test", or "val" where the set has a test split; the others are "train", but for a set's own "val" where
    the part is "test". Each sample is in exactly one part. Raises UserError for a class of fewer units than parts, or
    of which groups leave none to train on.
    """
    name = "val" if "test" in own else "test"
    pool = np.sort(np.concatenate([own["train"], own["val"]])) if name == "val" and "val" in own else own["train"]
    parts: list[list[Indices]] = [[] for _ in range(folds)]
    for units in _units_by_class(samples, pool, seed):
        if len(units) < folds:
            raise _too_few(samples, units, f"{folds} parts (dataset.folds={folds})")
        sizes = [0] * folds
        for unit in units:
            smallest = sizes.index(min(sizes))
            sizes[smallest] += len(unit)
            parts[smallest].append(unit)
    part = _sorted(parts[number])
    train = np.setdiff1d(pool, part)
    _check_trained(samples, pool, train)
    return {name: part, "train": train}


def _check_trained(samples: Samples, pool: Indices, train: Indices) -> None:
    """Raises UserError for a class of which groups leave no training image: it is in few, and mostly of others."""
    for label in np.setdiff1d(samples.labels[pool], samples.labels[train])[:1]:
        raise UserError(
            f"class {samples.classes[label]!r} has no training images: each of its groups (dataset.group) is in "
            "another split. Add images of other groups, remove the class, or choose another seed."
        )


def _too_few(samples: Samples, units: Sequence[Indices], what: str) -> UserError:
    found = np.concatenate(units)
    label = int(np.bincount(samples.labels[found]).argmax())
    counts = f"{(samples.labels[found] == label).sum()} image(s)"
    if samples.groups is not None:
        counts += f" in {len(units)} group(s)"
    return UserError(
        f"class {samples.classes[label]!r} has {counts}: too few to split into {what}. Add images or remove the class."
    )


def reduce_train(
    samples: Samples, train: Indices, train_fraction: float, shots: int | None, seed: int
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
    for members in _ranked_by_class(samples, train, seed):
        count = shots if shots is not None else max(1, round(train_fraction * len(members)))
        kept.append(members[:count])
        if len(members) < count:
            short.append(f"{samples.classes[samples.labels[members[0]]]} ({len(members)})")
    notes = (
        (f"dataset.shots={shots}: fewer training images in {_listed(short)}; all of them are used.",) if short else ()
    )
    return _sorted(kept), notes


def check_fraction(key: str, value: float, *, zero: bool) -> None:
    """UserError unless 0 < value < 1 (or 0 where `zero` allows it)."""
    if not (0 < value < 1 or (zero and value == 0)):
        raise UserError(f"{key}={value}: must be {'at least' if zero else 'above'} 0 and below 1.")


def _units_by_class(samples: Samples, pool: Indices, seed: int) -> list[list[Indices]]:
    """Of each class the units that stay together, in hash order: its samples, or the groups that are mostly of it."""
    if samples.groups is None:
        return [[members[n : n + 1] for n in range(len(members))] for members in _ranked_by_class(samples, pool, seed)]
    members: dict[str, list[int]] = {}
    for index in pool:
        members.setdefault(samples.groups[index], []).append(index)
    labels = {group: int(np.bincount(samples.labels[own]).argmax()) for group, own in members.items()}
    units = []
    for label in sorted({*labels.values()}):
        own = [group for group in members if labels[group] == label]
        order = _hash_order(seed, samples.classes[label], own)
        units.append([np.array(members[own[position]], dtype=np.int64) for position in order])
    return units


def _ranked_by_class(samples: Samples, pool: Indices, seed: int) -> list[Indices]:
    """The pool's indices, one array a class that occurs in it, each in hash order."""
    by_class = pool[np.argsort(samples.labels[pool], kind="stable")]
    starts = np.flatnonzero(np.diff(samples.labels[by_class], prepend=-1))
    several = np.split(by_class, starts[1:]) if len(by_class) else []
    ranked = []
    for members in several:
        name = samples.classes[samples.labels[members[0]]] if samples.classes else ""
        ranked.append(members[_hash_order(seed, name, [samples.keys[index] for index in members])])
    return ranked


def _hash_order(seed: int, name: str, keys: Sequence[str]) -> list[int]:
    """Positions of keys by a hash of (seed, name of the class, key)."""
    prefix = hashlib.blake2b(f"{seed}\0{name}\0".encode(errors="surrogateescape"))
    digests = []
    for key in keys:
        digest = prefix.copy()
        digest.update(key.encode(errors="surrogateescape"))
        digests.append(digest.digest())
    return sorted(range(len(keys)), key=digests.__getitem__)


def _sorted(chunks: list[Indices]) -> Indices:
    """All chunks in one ascending array."""
    return np.sort(np.concatenate([np.empty(0, np.int64), *chunks])).astype(np.int64)


def _fraction_keys(fractions: Mapping[str, float]) -> str:
    """How the user wrote the fractions."""
    return ", ".join(f"dataset.{name}_fraction={fraction}" for name, fraction in fractions.items())


def _listed(names: Sequence[str]) -> str:
    """Up to five names, and how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
