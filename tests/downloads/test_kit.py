"""Archives: the same bytes for the same files, and nothing believed of one that somebody else made."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from transfer_cli.downloads import kit
from transfer_cli.downloads.manifest import MANIFEST, Entry, to_json
from transfer_cli.downloads.pack import pack
from transfer_cli.downloads.unpack import place_set, place_weights
from transfer_cli.errors import RunError, UserError

ARCHIVE = Path("kit.tar")


def entry(name: str, content: bytes, kind: str = "file", **more: Any) -> Entry:
    return Entry(kind, name, len(content), hashlib.sha256(content).hexdigest(), **more)


def _packed(contents: dict[str, bytes], archive: Path = ARCHIVE) -> list[Entry]:
    """An archive of files of a data set (names with a slash) and of weights."""
    entries = []
    for number, (name, content) in enumerate(contents.items()):
        Path(f"source{number}").write_bytes(content)
        entries.append(entry(name, content, "dataset" if "/" in name else "file"))
    pack(archive, [(one, Path(f"source{number}")) for number, one in enumerate(entries)], lambda _: None)
    return entries


def _tar(
    *members: tuple[str, bytes], manifest: bytes | None = None, change: Callable[[Any], None] | None = None
) -> None:
    """An archive that holds just these, behind a manifest of them."""
    if manifest is None:
        manifest = to_json(entry(name, content) for name, content in members)
    with tarfile.open(ARCHIVE, "w:", format=tarfile.PAX_FORMAT) as tar:
        for name, content in [(MANIFEST, manifest), *members]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change is not None and name != MANIFEST:
                change(info)
            tar.addfile(info, io.BytesIO(content))


def _weights(to: Path = Path("cache")) -> list[bool]:
    """Verify and unpack weights; whether each was there before."""
    with kit.opened(ARCHIVE) as opened:
        opened.verify(lambda _: None)
        placed = [
            place_weights(opened, one, to / one.name, lambda one: to / one.name, lambda _: None)
            for one in opened.entries
        ]
        return [one.was_there for one in placed]


def test_there_and_back() -> None:
    long = f"datasets/cifar10/{'d' * 150}/ü.png"
    contents = {"a.pth": b"weights", "empty.pth": b"", long: b"picture", "datasets/cifar10/b": b"0" * 3_000_000}
    entries = _packed(contents)
    with kit.opened(ARCHIVE) as opened:
        opened.verify(lambda _: None)
        assert opened.entries == sorted(entries, key=lambda one: one.name)
        assert {one.name: b"".join(opened.blocks(one)) for one in opened.entries} == contents
    with tarfile.open(ARCHIVE) as tar:
        assert {member.name for member in tar} == {MANIFEST, *contents}, "any tar unpacks it"
    _packed(dict(reversed(contents.items())), Path("again.tar"))
    assert Path("again.tar").read_bytes() == ARCHIVE.read_bytes()
    assert not list(Path().glob("*.partial"))


def test_a_file_that_changes_while_it_is_packed() -> None:
    Path("a").write_bytes(b"after")
    with pytest.raises(RunError, match="changed while it was packed"):
        pack(ARCHIVE, [(entry("a.pth", b"befor"), Path("a"))], lambda _: None)
    Path("a").write_bytes(b"bef")
    with pytest.raises(RunError, match="cannot be packed"):
        pack(ARCHIVE, [(entry("a.pth", b"befor"), Path("a"))], lambda _: None)
    assert os.listdir() == ["a"]


def test_a_full_disk_leaves_no_archive(full_after: Callable[[int], None]) -> None:
    Path("a").write_bytes(bytes(1_000_000))
    full_after(500_000)
    with pytest.raises(RunError, match=r"kit.tar cannot be written: File too large"):
        pack(ARCHIVE, [(entry("a.pth", bytes(1_000_000)), Path("a"))], lambda _: None)
    assert os.listdir() == ["a"]


@pytest.mark.parametrize("at", [0, 300, 600, 1100, 5000, -1])
def test_one_flipped_byte_or_a_cut_is_noticed_before_anything_appears(at: int) -> None:
    _packed({"a.pth": bytes(range(256)) * 10, "b.pth": b"b" * 2000})
    whole = ARCHIVE.read_bytes()
    end = len(whole.rstrip(b"\0"))  # what follows is padding
    at = at % end
    ARCHIVE.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(UserError, match=r"fetch.unpack=kit.tar: .*Nothing of it was used"):
        _weights()
    ARCHIVE.write_bytes(whole[:at])
    with pytest.raises(UserError, match=r"fetch.unpack=kit.tar: .*Nothing of it was used"):
        _weights()
    assert not Path("cache").exists()


NAMES = [
    "/etc/a.pth",
    "../a.pth",
    "a/../../b.pth",
    "",
    ".",
    "a\\b.pth",
    "C:a.pth",
    "a\nb.pth",
    "a//b",
    "./a.pth",
    MANIFEST,
]


@pytest.mark.parametrize("name", [*NAMES, "x/a.pth", "datasets/a.pth", "a" * 1001, "weights-01234567.pth"])
def test_names_that_lead_elsewhere(name: str) -> None:
    _tar((name, b"x"))
    with pytest.raises(UserError, match=r"is no name of a file in it|no place of its kind|no archive|another hash"):
        _weights()
    assert os.listdir() == ["kit.tar"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_links_devices_and_folders(kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "/etc/passwd"

    _tar(("a.pth", b""), change=change)
    with pytest.raises(UserError, match=r"a.pth in it is a link, a folder or a device|is in it where"):
        _weights()
    assert os.listdir() == ["kit.tar"]


def test_more_or_less_than_its_manifest() -> None:
    one, two = ("a.pth", b"a"), ("b.pth", b"b")
    _tar(one, two, manifest=to_json([entry(*one)]))
    with pytest.raises(UserError, match=r"it holds more than its manifest.json names"):
        _weights()
    _tar(one, manifest=to_json([entry(*one), entry(*two)]))
    with pytest.raises(UserError, match=r"b.pth is missing"):
        _weights()
    _tar(two, manifest=to_json([entry(*one)]))
    with pytest.raises(UserError, match=r"'b.pth' is in it where its manifest.json has a.pth"):
        _weights()
    _tar(one, manifest=to_json([replace(entry(*one), bytes=5)]))
    with pytest.raises(UserError, match="1 bytes, not the 5"):
        _weights()


@pytest.mark.parametrize(
    "manifest",
    [
        *(b"", b"{", b"[]", b"{}", b"null", b"[" * 5000, b"\xff", b'{"format": 2, "files": []}'),
        *(b'{"format": 1, "files": {}}', b'{"format": 1, "files": [1]}', b'{"format": 1, "files": [{"kind": "file"}]}'),
        json.dumps({"format": 1, "files": [{"kind": "file", "name": "a", "bytes": -1, "sha256": "0" * 64}]}).encode(),
        json.dumps({"format": 1, "files": [{"kind": "file", "name": "a", "bytes": True, "sha256": "0" * 64}]}).encode(),
        json.dumps({"format": 1, "files": [{"kind": "file", "name": "a", "bytes": 1, "sha256": 0}]}).encode(),
        json.dumps({"format": 1, "files": [{"kind": [], "name": {}, "bytes": 1, "sha256": 0}]}).encode(),
        json.dumps({"format": 1, "files": [{"kind": "hub", "name": "a/b/c", "bytes": 1, "sha256": "0" * 64}]}).encode(),
        to_json([entry("a.pth", b"a"), entry("a.pth", b"a")]),
        to_json([entry("a/b/c", b"a", "hub", commit="../../x", etag="0" * 64)]),
        to_json([entry("a/b/c", b"a", "hub", commit="0" * 40, etag="../x")]),
        to_json([entry("a/b/c", b"a", "hub", commit="0" * 40, etag="0" * 64)]),
    ],
)
def test_manifests_that_are_none(manifest: bytes) -> None:
    _tar(("a.pth", b"a"), manifest=manifest)
    with pytest.raises(UserError, match=r"fetch.unpack=kit.tar: .*Nothing of it was used"):
        _weights()
    assert os.listdir() == ["kit.tar"]


def test_headers_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def long(info: tarfile.TarInfo) -> None:
        info.pax_headers = {"comment": "x" * 2**21}

    _tar(("a.pth", b"a"), change=long)
    with pytest.raises(UserError, match="a header in it is too long"):
        _weights()
    _tar(("a.pth", b"a"))
    whole = bytearray(ARCHIVE.read_bytes())
    at = whole.index(b"a.pth\0")
    whole[at + 124 : at + 136] = b"\xff" * 11 + b"\x00"  # a size below nothing
    whole[at + 148 : at + 156] = b" " * 8
    whole[at + 148 : at + 156] = b"%06o\0 " % sum(whole[at : at + 512])
    ARCHIVE.write_bytes(whole)
    with pytest.raises(UserError, match="Nothing of it was used"):
        _weights()


def test_a_manifest_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    _tar(("a.pth", b"a"))
    monkeypatch.setattr(kit, "MOST_BYTES", 50)
    with pytest.raises(UserError, match=r"its manifest.json is too long"):
        _weights()


def test_a_small_file_of_the_hub_must_be_what_the_hub_calls_it() -> None:
    """By the hash of git; its sha256 is the archive's own word alone."""
    right, name = hashlib.sha1(b"blob 1\0a").hexdigest(), "owner/repository/config.json"
    for etag in ("0" * 40, right):
        manifest = to_json([entry(name, b"a", "hub", commit="0" * 40, etag=etag)])
        _tar((name, b"a"), manifest=manifest)
        if etag == right:
            assert _weights() == [False]
            continue
        with pytest.raises(UserError, match=r"config\.json is not what the hub calls 0000"):
            _weights()
        assert not [path for path in Path("cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "content", [b"", b"no tar", b"PK\x03\x04" + bytes(1000), b"\x1f\x8b" + bytes(1000), bytes(20480)]
)
def test_what_is_no_tar(content: bytes) -> None:
    ARCHIVE.write_bytes(content)
    with pytest.raises(UserError, match="Nothing of it was used"):
        _weights()


def test_again_changes_nothing_and_mends_what_is_damaged() -> None:
    _packed({"a.pth": b"aaaa", "b.pth": b"bbbb"})
    assert _weights() == [False, False]
    before = Path("cache/a.pth").stat()
    Path("cache/b.pth").write_bytes(b"damaged")
    assert _weights() == [True, False]
    assert Path("cache/a.pth").stat().st_ino == before.st_ino
    assert Path("cache/b.pth").read_bytes() == b"bbbb"
    assert sorted(os.listdir("cache")) == ["a.pth", "b.pth"]


def test_a_full_disk_while_unpacking(full_after: Callable[[int], None]) -> None:
    _packed({"a.pth": b"small", "b.pth": bytes(1_000_000)})
    full_after(500_000)
    with pytest.raises(RunError, match=r"b.pth cannot be written: File too large"):
        _weights()
    assert os.listdir("cache") == ["a.pth"]


SET = {"datasets/cifar10/marker/1": b"one", "datasets/cifar10/marker/2": b"two", "datasets/cifar10/notes": b"words"}


def _set(root: Path = Path("data")) -> list[bool]:
    with kit.opened(ARCHIVE) as opened:
        opened.verify(lambda _: None)
        return [one.was_there for one in place_set(opened, opened.entries, root, "marker", lambda _: None)]


def _holds_the_set(root: Path = Path("data")) -> None:
    found = {f"datasets/cifar10/{path.relative_to(root)}": path for path in root.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == SET


def test_a_set_appears_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after each rename, the set is not found, or it is complete; the last attempt completes it."""
    _packed(SET)
    real, left = os.replace, 0

    def killed(source: Any, target: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    kills = 0
    for _ in range(20):
        left = 1
        try:
            _set()
        except KeyboardInterrupt:
            kills += 1
            marker = Path("data/marker")
            assert not marker.exists() or (len(os.listdir(marker)) == 2 and Path("data/notes").exists())
        else:
            break
        finally:
            left = 100
    assert kills == 4
    _holds_the_set()
    assert _set() == [True] * 3


def test_a_set_that_is_there_in_part_is_completed() -> None:
    _packed(SET)
    Path("data/marker").mkdir(parents=True)
    Path("data/marker/2").write_bytes(b"two")
    assert sum(_set()) == 1
    _holds_the_set()


def test_other_files_in_its_place_stay() -> None:
    _packed(SET)
    Path("data/marker").mkdir(parents=True)
    Path("data/marker/2").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"data/marker/2: is there, and is another file"):
        _set()
    assert [str(path) for path in Path("data").rglob("*") if path.is_file()] == ["data/marker/2"]
    assert Path("data/marker/2").read_bytes() == b"mine"
