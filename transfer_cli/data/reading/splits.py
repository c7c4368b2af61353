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


@dataclass(frozen=True)
class _Units:
    """The samples of a class in an order that keeps together what stays together: unit i ends before `ends[i]`."""

    members: Indices
    ends: Indices

    def __len__(self) -> int:
        return len(self.ends)

    def between(self, first: int, last: int) -> Indices:
        """The samples of the units from `first` to before `last`."""
        return self.members[self.before(first) : self.before(last)]

    def before(self, unit: int) -> int:
        """How many samples are in the units before this one."""
        return int(self.ends[unit - 1]) if unit else 0


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
        images = len(units.members)
        shares = {name: max(1, round(fraction * images)) for name, fraction in cut.items()}
        if len(units) < 1 + len(cut) or images < 1 + sum(shares.values()):
            raise _too_few(samples, units, f"train, {', '.join(cut)} ({_fraction_keys(cut)})")
        start = 0
        for later, (name, share) in zip(range(len(cut), 0, -1), shares.items(), strict=True):
            # Units until the share is reached, leaving one for each split that is still to come.
            reached = int(np.searchsorted(units.ends, units.before(start) + share)) + 1
            end = min(reached, len(units) - later)
            carved[name].append(units.between(start, end))
            start = end
        carved["train"].append(units.between(start, len(units)))
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
    chosen: list[Indices] = []
    for units in _units_by_class(samples, pool, seed):
        if len(units) < folds:
            raise _too_few(samples, units, f"{folds} parts (dataset.folds={folds})")
        sizes = [0] * folds
        for unit, size in enumerate(np.diff(units.ends, prepend=0).tolist()):
            smallest = sizes.index(min(sizes))
            sizes[smallest] += size
            if smallest == number:
                chosen.append(units.between(unit, unit + 1))
    part = _sorted(chosen)
    train = np.setdiff1d(pool, part)
    _check_trained(samples, pool, train)
    return {name: part, "train": train}


def _check_trained(samples: Samples, pool: Indices, train: Indices) -> None:
    """Raises UserError for a class of which groups leave no training image: it is in few, and mostly of others."""
    if samples.groups is None:
        return
    for label in np.setdiff1d(samples.labels[pool], samples.labels[train])[:1]:
        raise UserError(
            f"class {samples.classes[label]!r} has no training images: each of its groups (dataset.group) is in "
            "another split. Add images of other groups, remove the class, or choose another seed."
        )


def _too_few(samples: Samples, units: _Units, what: str) -> UserError:
    labels = samples.labels[units.members]
    label = int(np.bincount(labels).argmax())
    counts = f"{(labels == label).sum()} image(s)"
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


def _units_by_class(samples: Samples, pool: Indices, seed: int) -> list[_Units]:
    """Of each class the units in hash order: its samples, or the groups that are mostly of it."""
    if samples.groups is None:
        ranked = _ranked_by_class(samples, pool, seed)
        return [_Units(members, np.arange(1, len(members) + 1)) for members in ranked]
    members: dict[str, list[int]] = {}
    for index in pool:
        members.setdefault(samples.groups[index], []).append(index)
    by_class: dict[int, list[str]] = {}
    for group, own in members.items():
        by_class.setdefault(int(np.bincount(samples.labels[own]).argmax()), []).append(group)
    units = []
    for label, groups in sorted(by_class.items()):
        ordered = [members[groups[position]] for position in _hash_order(seed, samples.classes[label], groups)]
        units.append(_Units(np.concatenate(ordered), np.cumsum([len(group) for group in ordered])))
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
