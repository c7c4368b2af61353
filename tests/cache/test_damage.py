"""Bytes of the cache that have changed since they were written are never used: noticed, said, and made again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended
from transfer_cli.cache.entries import Cache

Command = Callable[..., Ended]
RESULTS = ("model.safetensors", "metrics.jsonl", "predictions.csv")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A probe on a folder of images: pixels, activations and a backbone in the cache."""
    generator = np.random.default_rng(0)
    for label in range(3):
        for number in range(12):
            file = tmp_path / "data" / f"class{label}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(60 * label, 60 * label + 120, (40, 40, 3), np.uint8)).save(file)
    own = [word for word in TINY if not word.startswith("dataset")]
    return [*own, "strategy=extract", "augment=none", "dataset=folder", "dataset.path=data", "cache_dir=cache"]


def flip(file: Path, at: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(at * (len(content) - 1))] ^= 1
    file.write_bytes(content)


def files_of_cache() -> list[Path]:
    kinds = ("pixels", "activations", "backbones")
    return sorted(file for kind in kinds for file in Path("cache", kind).rglob("*") if file.is_file())


def test_whatever_byte_has_changed_the_results_are_the_same(command: Command, words: list[str]) -> None:
    assert command(*words, "name=first").code == 0
    first = Path("outputs/runs/first")
    shutil.copytree("cache", "kept")
    names = [file.relative_to("cache") for file in files_of_cache()]
    assert {name.name for name in names} >= {"pixels.bin", "rows.bin", "backbone.safetensors", "entry.json"}
    for number, name in enumerate(names):
        shutil.rmtree("cache")
        shutil.copytree("kept", "cache")
        if name.parts[0] == "pixels":
            # Else nothing would look at them.
            shutil.rmtree("cache/activations")
        flip(Path("cache") / name, (0.0, 0.5, 1.0)[number % 3])
        ended = command(*words, f"name=run{number}")
        assert ended.code == 0, (name, ended.err)
        again = Path(f"outputs/runs/run{number}")
        assert all((first / file).read_bytes() == (again / file).read_bytes() for file in RESULTS), name
        if name.name != "entry.json":
            assert "what it held is made again" in ended.out, name
    assert "made again" not in command(*words, "name=once_more").out


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"key": 1, "files": 2}', b'{"key": {}, "files": {"a": []}}'])
def test_a_description_that_is_none_is_written_again(command: Command, words: list[str], content: bytes) -> None:
    assert command(*words, "name=first").code == 0
    for file in Path("cache").rglob("entry.json"):
        file.write_bytes(content)
    assert command(*words, "name=second").code == 0
    assert all(json.loads(file.read_text())["files"] for file in Path("cache").rglob("entry.json"))


def test_pixels_that_change_while_they_are_read_are_decoded_from_their_file(tmp_path: Path) -> None:
    from transfer_cli.data.store.packs import Pack

    entry = _pack(tmp_path)
    flip(entry / "pixels.bin", 1.0)
    pack = Pack(entry, 3)
    rows = [np.empty((4, 4, 3), np.uint8) for _ in range(2)]
    for row, pixels in enumerate(rows):
        pack.read(row, pixels)
    assert [pack.is_sound(row, pixels) for row, pixels in enumerate(rows)] == [True, False]


def _pack(tmp_path: Path) -> Path:
    from transfer_cli.data.store.packs import Decoded, write_pack

    rows = [Decoded(bytes(32), np.full((4, 4, 3), value, np.uint8)) for value in (1, 2)]

    def build(folder: Path) -> None:
        write_pack(folder, np.zeros((2, 16), np.uint8), rows, {})

    return Cache(tmp_path / "cache", 10**9).fill("pixels", {}, build)


@pytest.fixture
def place(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that others may enter, with the images. Pytest closes its own to them wherever it starts meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree("data", Path(folder, "data"))
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    "mode", [0o1777, pytest.param(0o777, marks=pytest.mark.slow), 0o755], ids=["sticky", "open", "read-only"]
)
def test_a_second_user_works_with_the_cache_of_the_first(
    command: Command, words: list[str], place: Path, mode: int
) -> None:
    Path("cache").mkdir()
    Path("cache").chmod(mode)
    Path("outputs").mkdir(mode=0o777)
    Path("outputs").chmod(0o777)
    assert command(*words, "name=first", "output_dir=firsts").code == 0
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os.environ["HOME"] = str(place)
        codes = [command(*words, f"name={name}", *more).code for name, more in _OF_THE_SECOND]
        os._exit(0 if codes == [0, 0, 0] else 1)
    assert os.waitpid(child, 0)[1] == 0
    said = Path("outputs/runs/other/run.log").read_text()
    assert ("made for this run alone" in said) == (mode == 0o755)


_OF_THE_SECOND = [
    ("second", []),
    # Another size: nothing of it is in the cache.
    ("other", ["image_size=48"]),
    ("trained", ["strategy=finetune", "image_size=40", "trainer.epochs=1"]),
]
