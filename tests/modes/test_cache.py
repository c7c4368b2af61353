"""mode=cache: what is there, whether it is whole, and that it goes when asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import TINY, Ended
from transfer_cli.cache.entries import Cache

Command = Callable[..., Ended]
FOLDER = [*[word for word in TINY if "dataset" not in word], "dataset=folder", "dataset.path=photos"]


@pytest.fixture
def entries(command: Command, tmp_path: Path) -> list[Path]:
    """The entries that a run leaves."""
    for name, tone in (("dark", 10), ("light", 200)):
        Path("photos", name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (40, 30), (tone, tone, number)).save(f"photos/{name}/{number}.png")
    ended = command(*FOLDER, "name=one", "trainer.epochs=1", "dataset.store=disk")
    assert ended.code == 0, ended.err
    return [entry.path for entry in Cache(tmp_path / "cache", 0).entries()]


def test_list_says_what_how_large_and_where(command: Command, entries: list[Path], tmp_path: Path) -> None:
    ended = command("mode=cache", "cache_size=2")
    assert ended.code == 0, ended.err
    rows = [line for line in ended.out.splitlines() if line.startswith("pixels")]
    assert len(rows) == len(entries) == 2
    assert any(f"{tmp_path / 'photos'}: training, 48 px" in row for row in rows)
    assert any(f"{tmp_path / 'photos'}: evaluation, 32 px" in row for row in rows)
    assert all(any(f"pixels/{path.name}" in row for row in rows) for path in entries)
    assert ended.out.splitlines()[-1].startswith("2 entries, ")
    assert "of 2.1 GB" in ended.out.splitlines()[-1]


def test_list_of_an_empty_cache(command: Command) -> None:
    ended = command("mode=cache")
    assert ended.code == 0
    assert "0 entries" in ended.out


def test_verify_finds_and_removes_what_changed(command: Command, entries: list[Path]) -> None:
    assert command("mode=cache", "cache.action=verify").code == 0
    pixels = entries[0] / "pixels.bin"
    pixels.write_bytes(bytes([pixels.read_bytes()[0] ^ 1]) + pixels.read_bytes()[1:])
    ended = command("mode=cache", "cache.action=verify")
    assert ended.code == 3
    assert f"{entries[0]}: pixels.bin has changed" in ended.out
    assert [path.exists() for path in entries] == [False, True]
    assert command("mode=cache", "cache.action=verify").code == 0


def test_clear_by_kind(command: Command, entries: list[Path]) -> None:
    assert command("mode=cache", "cache.action=clear", "cache.kind=activations").code == 0
    assert all(path.exists() for path in entries)
    ended = command("mode=cache", "cache.action=clear", "cache.kind=pixels")
    assert "2 entries removed" in ended.out
    assert not any(path.exists() for path in entries)
    assert command(*FOLDER, "name=two", "trainer.epochs=1").code == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("cache.action=purge", "list, verify, clear"),
        ("cache.kind=pixel", "Did you mean pixels"),
        ("cache_size=0", "cache_size"),
    ],
)
def test_wrong_values_name_their_key(command: Command, word: str, said: str) -> None:
    ended = command("mode=cache", word)
    assert ended.code == 2
    assert word in ended.err
    assert said in ended.err


def test_its_keys_belong_to_it_alone(command: Command) -> None:
    ended = command("cache.action=clear")
    assert ended.code == 2
    assert "only mode=cache" in ended.err
