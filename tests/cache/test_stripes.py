"""Processes fill an entry together: each stripe is made once, and the bytes are those of one process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from transfer_cli.cache import stripes
from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import damage
from transfer_cli.cache.stripes import Filling, Striped

LARGE, COUNT = 10**9, 12
KEY = {"rows": 1}


class Halt(BaseException):
    """What a signal raises."""


def striped(log: Path, name: str, seconds: float = 0.0, fails_at: int | None = None, form: str = "8") -> Striped:
    """Stripes of two blocks each; who made which is noted in a folder."""

    def make(number: int) -> Iterator[bytes]:
        (log / f"{number}.{name}.{time.monotonic_ns()}").touch()
        yield bytes([number]) * 1000
        if number == fails_at:
            raise Halt
        time.sleep(seconds)
        yield bytes([number + 100]) * (500 + number)

    def finish(folder: Path, facts: dict[str, Any]) -> None:
        (folder / "about.txt").write_text(f"{COUNT} {facts['width']}")

    def wait() -> None:
        time.sleep(0.01)

    return Striped("rows.bin", COUNT, form, make, lambda: {"width": 3}, finish, lambda stripes: None, wait)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    return folder


def made(log: Path) -> list[int]:
    """The number of each stripe as often as it was begun."""
    return sorted(int(path.name.split(".")[0]) for path in log.iterdir())


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name != "entry.json"}


def expected() -> dict[str, bytes]:
    rows = b"".join(bytes([n]) * 1000 + bytes([n + 100]) * (500 + n) for n in range(COUNT))
    return {"rows.bin": rows, "about.txt": b"12 3"}


def _fill(root: Path, log: Path, name: str, seconds: float) -> None:
    Cache(root, LARGE).fill_together("activations", KEY, striped(log, name, seconds))


@pytest.mark.parametrize("joins", [True, False])
def test_three_processes_fill_one_entry_and_one_is_killed(joins: bool, tmp_path: Path, log: Path) -> None:
    """The one that joins what all of them make, or another."""
    context = multiprocessing.get_context("spawn")
    three = [context.Process(target=_fill, args=(tmp_path / "cache", log, name, 0.25)) for name in "abc"]
    for process in three:
        process.start()
        while not list(log.iterdir()):
            time.sleep(0.005)
    while len({path.name.split(".")[1] for path in log.iterdir()}) < 3:
        time.sleep(0.005)
    # The first to come joins.
    killed = three[0 if joins else 1]
    assert killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    for process in three:
        process.join(30)
    assert sorted(process.exitcode or 0 for process in three) == [-9, 0, 0]
    path = Cache(tmp_path / "cache", LARGE).get("activations", KEY)
    assert path is not None and content(path) == expected() and damage(path) is None
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    found = made(log)
    assert sorted(set(found)) == list(range(COUNT)) and len(found) in (COUNT, COUNT + 1)


@pytest.mark.parametrize("halts", [[0], [5], [3, 11]])
def test_what_was_stopped_goes_on_where_it_was(halts: list[int], tmp_path: Path, log: Path) -> None:
    for number in halts:
        with pytest.raises(Halt):
            Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, striped(log, "a", fails_at=number))
    path = Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, striped(log, "b"))
    assert content(path) == expected() and damage(path) is None
    assert made(log) == sorted([*range(COUNT), *halts])
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def _stopped(tmp_path: Path, log: Path, at: int) -> Path:
    with pytest.raises(Halt):
        Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, striped(log, "a", fails_at=at))
    (folder,) = (tmp_path / "cache" / "activations").iterdir()
    return folder


def test_stripes_that_others_made_are_told_of_once(tmp_path: Path, log: Path) -> None:
    _stopped(tmp_path, log, 5)
    told: list[int] = []
    mine = replace(striped(log, "b"), others_did=told.append)
    Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, mine)
    assert sorted(told) == [0, 1, 2, 3, 4]


def test_what_was_damaged_meanwhile_is_made_again(tmp_path: Path, log: Path) -> None:
    rows = _stopped(tmp_path, log, 7) / "whole" / "rows.bin"
    damaged = bytearray(rows.read_bytes())
    damaged[4 * 1500 + 700] ^= 1
    rows.write_bytes(damaged + b"what a process was writing when it was killed" * 1000)
    path = Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, striped(log, "b"))
    assert content(path) == expected()
    assert made(log) == sorted([*range(COUNT), 4, 5, 6, 7])


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_whoever_may_write_the_cache_may_go_on(mode: int, tmp_path: Path, log: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    folder = _stopped(tmp_path, log, 5)
    for file in (folder / "whole" / "rows.bin", folder / "joined"):
        assert bool(file.stat().st_mode & stat.S_IWOTH) == (mode == 0o777)


def test_a_stripe_that_is_not_what_its_name_says_is_made_again(tmp_path: Path, log: Path) -> None:
    folder = _stopped(tmp_path, log, 2)
    (folder / "stripe-3-00000000").write_bytes(b"other")
    path = Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, striped(log, "b"))
    assert content(path) == expected()


def test_stripes_of_another_form_are_not_joined(tmp_path: Path, log: Path) -> None:
    _stopped(tmp_path, log, 5)
    path = Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, striped(log, "b", form="16"))
    assert content(path) == expected()
    assert made(log) == sorted([*range(COUNT), *range(6)])


def test_a_full_disk_leaves_nothing(tmp_path: Path, log: Path) -> None:
    def make(number: int) -> Iterator[bytes]:
        yield b"some"
        if number == 3:
            raise OSError(28, "No space left on device")

    full = replace(striped(log, "a"), make=make)
    with pytest.raises(OSError, match="No space"):
        Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, full)
    assert list((tmp_path / "cache" / "activations").iterdir()) == []


@pytest.mark.parametrize(("size", "words"), [(1000, {}), (LARGE, {"begun": True})], ids=["no room", "cleared"])
def test_what_was_begun_is_kept_for_days_where_there_is_room(
    size: int, words: dict[str, bool], tmp_path: Path, log: Path
) -> None:
    folder = _stopped(tmp_path, log, 5)
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    os.utime(folder, (time.time() - 7200,) * 2)
    Cache(tmp_path / "cache", LARGE).evict()
    assert folder.exists()
    Cache(tmp_path / "cache", size).evict(**words)
    assert not folder.exists()


def test_what_is_left_of_an_entry_that_is_there_goes_at_its_next_use(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finished it was killed as it cleaned up."""
    monkeypatch.setattr(stripes.shutil, "rmtree", lambda *_, **__: None)
    _fill(tmp_path / "cache", log, "a", 0)
    monkeypatch.undo()
    assert list((tmp_path / "cache" / "activations").glob(".filling-*"))
    _fill(tmp_path / "cache", log, "b", 0)
    assert not list((tmp_path / "cache" / "activations").glob(".filling-*"))


def test_a_folder_that_vanishes_is_nothing_where_the_entry_is_there(tmp_path: Path, log: Path) -> None:
    """Another process finishes it, and cleans up, in the middle of what this one does there."""
    root = tmp_path / "cache"
    whole = striped(log, "a")

    def make(number: int) -> Iterator[bytes]:
        if number == 3:
            shutil.rmtree(next((root / "activations").glob(".filling-*")))
            Cache(root, LARGE).fill("activations", KEY, lambda folder: (folder / "rows.bin").write_bytes(b"all"))
            raise FileNotFoundError(2, "No such file or directory")
        yield from whole.make(number)

    mine = replace(whole, make=make)
    # Of another process's entry lock this one would know nothing.
    held = Filling(root, Cache(root, LARGE)._path("activations", KEY), mine)
    held._become_joiner = lambda _: None  # type: ignore[method-assign]
    held.run(KEY, lambda: Cache(root, LARGE).has("activations", KEY))
    assert content(held.path) == {"rows.bin": b"all"}


def test_a_file_that_is_missing_ends_it(tmp_path: Path, log: Path) -> None:
    def make(number: int) -> Iterator[bytes]:
        raise FileNotFoundError(2, "No such file or directory")
        yield b""

    mine = replace(striped(log, "a"), make=make)
    with pytest.raises(FileNotFoundError):
        Cache(tmp_path / "cache", LARGE).fill_together("activations", KEY, mine)
