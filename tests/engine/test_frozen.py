"""A frozen part that copies what is kept: it hears a signal, and leaves the entries of other images alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import ABOUT, digest
from transfer_cli.data.batches import Batch, unlabelled
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.frozen import KIND, Frozen, SplitView


class HaltError(Exception):
    """A signal asked for an end."""


class Halting:
    halts = False

    def check(self, text: str) -> None:
        if self.halts:
            raise HaltError(text)


def part(*numbers: int) -> SplitView:
    """Images that are their numbers."""
    known = np.array(numbers)

    def some(positions: np.ndarray, size: int) -> Iterator[Batch]:
        for start in range(0, len(positions), size):
            yield unlabelled(torch.from_numpy(known[positions[start : start + size], None]).float())

    digests = np.zeros((len(numbers), 32), np.uint8)
    digests[:, :8] = known[:, None].astype(np.int64).view(np.uint8)
    return SplitView(
        "train",
        None,
        len(numbers),
        {"samples": str(numbers)},
        form={},
        samples=lambda: digests,
        some=some,
    )


def frozen(root: Path, stop: Halting) -> Frozen:
    bar = SimpleNamespace(step=lambda images: None)
    return Frozen(
        identity={"boundary": "features"},
        forward=lambda: lambda inputs: 2 * inputs,
        compute=Compute(torch.device("cpu"), "fp32"),
        to_device=lambda batch: batch,
        batch_size=4,
        cache=Cache(root, 10**9),
        count=lambda *about: contextlib.nullcontext(bar),  # type: ignore[arg-type, return-value]
        stop=stop,  # type: ignore[arg-type]
    )


def test_a_signal_ends_what_only_copies(tmp_path: Path) -> None:
    stop = Halting()
    frozen(tmp_path, stop).of(part(*range(40)))
    stop.halts = True
    with pytest.raises(HaltError):
        frozen(tmp_path, stop).of(part(*range(39)))


def test_entries_of_other_images_are_neither_read_nor_kept_from_going(tmp_path: Path) -> None:
    """Those of all data sets that a network has seen are of one kind."""
    stop, mixed = Halting(), part(3, 104, 50)
    parts = [part(*range(10)), part(*range(100, 110))]
    folders = [tmp_path / KIND / digest(frozen(tmp_path, stop).key(one)) for one in parts]
    for one in parts:
        frozen(tmp_path, stop).of(one)
    used = frozen(tmp_path, stop)
    assert used.of(mixed).rows(np.arange(3)).flatten().tolist() == [6, 208, 100]
    assert used.images_computed == 1
    own, other = folders
    os.utime(own / ABOUT, (1, 1))
    os.utime(other / ABOUT, (2, 2))  # looked at first, for it was used last
    assert frozen(tmp_path, stop).missing(part(7, 8)) == 0
    assert (own / ABOUT).stat().st_mtime > 2
    assert (other / ABOUT).stat().st_mtime == 2


@pytest.mark.parametrize(("threads", "computed"), [(1, 1), (2, 1), (3, 4), (4, 1), (5, 4)])
def test_rows_whose_bits_depend_on_their_batch_are_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, computed: int
) -> None:
    frozen(tmp_path, Halting()).of(part(1, 2, 3))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    other = frozen(tmp_path, Halting())
    assert other.missing(part(3, 2, 1, 4)) == computed
    assert other.of(part(3, 2, 1, 4)).rows(np.arange(4)).flatten().tolist() == [6, 4, 2, 8]
    assert other.images_computed == computed
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert frozen(tmp_path, Halting()).missing(part(4)) == (0 if computed == 1 else 1), "no source of others either"
