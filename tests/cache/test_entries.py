"""Entries are whole or absent, shared, capped, and never found under another key."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import damage, digest

LARGE = 10**9


def builder(content: bytes) -> object:
    return lambda folder: (folder / "data.bin").write_bytes(content)


def test_an_entry_is_built_once_and_found_by_its_key_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", LARGE)
    assert cache.get("pixels", {"size": 32}) is None
    path = cache.fill("pixels", {"size": 32}, builder(b"one"))
    assert cache.fill("pixels", {"size": 32}, builder(b"two")) == path
    assert (cache.get("pixels", {"size": 32}) / "data.bin").read_bytes() == b"one"
    assert cache.get("pixels", {"size": 33}) is None
    assert cache.get("activations", {"size": 32}) is None
    assert (cache.hits, cache.misses) == (1, 3)


def test_the_order_of_a_key_does_not_matter_and_types_do() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", LARGE)

    def fail(folder: Path) -> None:
        (folder / "data.bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as told:
        cache.fill("pixels", {}, fail)
    assert told.value.filename == str(tmp_path / "cache" / "pixels" / digest({}))
    assert list((tmp_path / "cache" / "pixels").iterdir()) == []
    assert cache.get("pixels", {}) is None


@pytest.mark.parametrize("spoil", ["cut", "gone", "undescribed"])
def test_a_damaged_entry_is_built_again(tmp_path: Path, spoil: str) -> None:
    cache = Cache(tmp_path / "cache", LARGE)
    path = cache.fill("pixels", {}, builder(b"whole"))
    if spoil == "cut":
        (path / "data.bin").write_bytes(b"who")
    else:
        (path / ("data.bin" if spoil == "gone" else "entry.json")).unlink()
    assert cache.get("pixels", {}) is None
    cache.fill("pixels", {}, builder(b"again"))
    assert (path / "data.bin").read_bytes() == b"again"


def test_damage_names_a_file_whose_bytes_changed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", LARGE)
    path = cache.fill("pixels", {}, builder(b"whole"))
    assert damage(cache.entries()[0].path) is None
    (path / "data.bin").write_bytes(b"whale")
    assert damage(cache.entries()[0].path) == "data.bin has changed"


def test_the_least_recently_used_goes_first_and_the_newest_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 250)
    paths = [cache.fill("pixels", {"n": n}, builder(bytes(100))) for n in range(2)]
    for age, path in zip((10, 5), paths, strict=True):
        os.utime(path / "entry.json", (time.time() - age,) * 2)
    cache.get("pixels", {"n": 0})
    cache.fill("pixels", {"n": 2}, builder(bytes(100)))
    assert [cache.get("pixels", {"n": n}) is not None for n in range(3)] == [True, False, True]
    cache.fill("pixels", {"n": 3}, builder(bytes(1000)))
    assert [entry.key["n"] for entry in cache.entries()] == [3]


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", LARGE)
    folder, file = tmp_path / "cache" / "pixels" / ".filling-abc", tmp_path / "cache" / ".shape.json.0123abcd.writing"
    folder.mkdir(parents=True)
    file.touch()
    cache.evict()
    assert folder.exists() and file.exists()
    for left in (folder, file):
        os.utime(left, (time.time() - 7200,) * 2)
    cache.evict()
    assert not folder.exists() and not file.exists()


def _fill_slowly(root: Path, name: str, built: Path) -> None:
    def build(folder: Path) -> None:
        (built / name).touch()
        time.sleep(0.3)
        (folder / "data.bin").write_bytes(b"shared")

    path = Cache(root, LARGE).fill("pixels", {}, build)
    assert (path / "data.bin").read_bytes() == b"shared"


def test_two_processes_fill_once(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_fill_slowly, args=(tmp_path / "cache", name, built)) for name in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(built.iterdir())) == 1


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileExistsError(17, "File exists")])
def test_an_error_of_what_is_built_comes_out_and_is_no_reason_to_try_for_ever(tmp_path: Path, error: OSError) -> None:
    """Such as an image that may not be read: it looks like a cache that may not be written."""
    calls = []

    def build(folder: Path) -> None:
        calls.append(folder)
        raise error

    with pytest.raises(type(error)):
        Cache(tmp_path / "cache", LARGE).fill("pixels", {}, build)
    assert len(calls) == 2
    assert not list((tmp_path / "cache" / "pixels").iterdir())


def test_damage_that_cannot_be_removed_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transfer_cli.cache import entries

    path = Cache(tmp_path / "cache", LARGE).fill("pixels", {}, builder(b"whole"))
    (path / "data.bin").write_bytes(b"wholf")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(entries, "remove", refuse)
    said: list[str] = []
    cache = Cache(tmp_path / "cache", LARGE, said.append)
    for _ in range(3):
        assert cache.get("pixels", {}) is None
    assert said == [f"cache: {path}: data.bin has changed; what it held is made again"]
