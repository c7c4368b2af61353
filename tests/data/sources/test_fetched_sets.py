"""torchvision's sets from a server: found once they are complete, and gone on with after an interruption."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torchvision import datasets

from tests.data.loading import load
from tests.downloads.server import Server, serving, without_proxy
from transfer_cli.data.sources import torchvision_sets
from transfer_cli.data.sources.torchvision_sets import fetch, files_of
from transfer_cli.downloads import transfer
from transfer_cli.errors import RunError, UserError

AIRCRAFT = "fgvc-aircraft-2013b"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One that has made-up digits of MNIST and, as a mirror, made-up aircraft."""
    without_proxy(monkeypatch)
    monkeypatch.setattr(transfer, "PAUSES_SECONDS", ())
    with serving() as server:
        resources = []
        for prefix, count in (("train", 4), ("t10k", 2)):
            pixels = struct.pack(">4I", 0x803, count, 28, 28) + os.urandom(28 * 28 * count)
            labels = struct.pack(">2I", 0x801, count) + bytes(count)
            for name, content in (("images-idx3", pixels), ("labels-idx1", labels)):
                packed = gzip.compress(content)
                server.files[f"/{prefix}-{name}-ubyte.gz"] = packed
                resources.append((f"{prefix}-{name}-ubyte.gz", hashlib.md5(packed).hexdigest()))
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{server.url}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", resources)
        server.files[f"/mirror/{AIRCRAFT}.tar.gz"] = _aircraft()
        yield server


def _aircraft() -> bytes:
    archive = io.BytesIO()
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    files = {"variants.txt": b"A300\nA310\n", "images/1.jpg": picture.getvalue(), "images/2.jpg": picture.getvalue()}
    files |= {f"images_variant_{split}.txt": b"1 A300\n2 A310\n" for split in ("train", "val", "test")}
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{AIRCRAFT}/data/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def _gets(server: Server) -> list[tuple[str, str | None]]:
    return [(path, part) for _, path, part in server.asked]


def test_a_set_comes_once_and_whole(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "sets"
    assert fetch("mnist", str(root))
    assert os.listdir(root) == ["MNIST"]
    assert len(files_of("mnist", str(root))) == 4
    assert len(server.asked) == 4
    assert not fetch("mnist", str(root))
    assert len(server.asked) == 4


def test_a_set_that_is_there_is_opened_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFER_RUN_MIRROR", f"{server.url}/mirror")
    fetch("fgvc_aircraft", str(tmp_path))
    opened: list[str] = []
    real = datasets.FGVCAircraft.__init__

    def counted(own: datasets.FGVCAircraft, *words: Any, **named: Any) -> None:
        opened.append(named["split"])
        real(own, *words, **named)

    monkeypatch.setattr(datasets.FGVCAircraft, "__init__", counted)
    assert len(load("fgvc_aircraft", tmp_path, download=True).ids) == 6
    assert opened == ["train", "val", "test"]


def test_what_is_missing_of_a_set_that_is_there_is_brought(server: Server, tmp_path: Path) -> None:
    fetch("mnist", str(tmp_path))
    before = len(server.asked)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    assert not fetch("mnist", str(tmp_path))
    assert len(server.asked) > before
    assert len(files_of("mnist", str(tmp_path))) == 4


def test_an_interruption_is_gone_on_from(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_ATTEMPTS", 1)
    server.cuts = [None, None, 100]
    with pytest.raises(UserError, match=r"could not be downloaded .*closed after 100 of"):
        fetch("mnist", str(tmp_path))
    assert os.listdir(tmp_path) == [".mnist.partial"]
    assert fetch("mnist", str(tmp_path))
    assert [part for _, part in _gets(server)] == [None, None, None, "bytes=100-", None]
    assert os.listdir(tmp_path) == ["MNIST"]


def test_what_is_altered_is_refused(server: Server, tmp_path: Path) -> None:
    name = "/t10k-labels-idx1-ubyte.gz"
    content = server.files[name]
    server.files[name] = gzip.compress(b"other")
    with pytest.raises(UserError, match=r"could not be downloaded .*corrupted"):
        fetch("mnist", str(tmp_path))
    assert not (tmp_path / "MNIST").exists()
    server.files[name] = content
    assert fetch("mnist", str(tmp_path))


@pytest.mark.parametrize("steps", range(1, 12))
def test_killed_anywhere_the_set_is_not_found_or_complete(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """At the nth file that is extracted, or the nth rename."""
    monkeypatch.setenv("TRANSFER_RUN_MIRROR", f"{server.url}/mirror")
    left = steps

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "_extract_member", counted(tarfile.TarFile._extract_member))  # type: ignore[attr-defined]
        patched.setattr(os, "replace", counted(os.replace))
        try:
            fetch("fgvc_aircraft", str(tmp_path))
        except KeyboardInterrupt:
            assert not (tmp_path / AIRCRAFT).exists() or len(files_of("fgvc_aircraft", str(tmp_path))) == 6
    fetch("fgvc_aircraft", str(tmp_path))
    assert os.listdir(tmp_path) == [AIRCRAFT]
    assert len(files_of("fgvc_aircraft", str(tmp_path))) == 6


def test_a_mirror_that_lacks_the_set_is_said_beside_the_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFER_RUN_MIRROR", str(tmp_path))
    server.failures = [404]
    with pytest.raises(UserError, match=r"gz: No such file.*; .*answers 404"):
        fetch("mnist", str(tmp_path / "sets"))


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torchvision_sets.Staging, "drop_archives", full)
    with pytest.raises(RunError, match="No space left"):
        fetch("mnist", str(tmp_path))
