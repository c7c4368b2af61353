"""Files are whole or untouched."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from transfer_cli import files
from transfer_cli.errors import one_line
from transfer_cli.files import (
    AppendedLines,
    atomic_write_bytes,
    atomic_write_text,
    growing_file,
    is_special,
    parsed_json,
    read_signed_json,
    unfinished,
    write_json,
    write_signed_json,
)


def test_replaces_a_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old and longer")
    atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_grows_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with growing_file(path) as write:
        write("é")
        write("\udcff\n")
        assert not path.exists() and len(unfinished(tmp_path)) == 1
    assert path.read_bytes() == "é\\udcff\n".encode()
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_data_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), real_fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), real_replace(a, b))[1])
    atomic_write_text(tmp_path / "a.txt", "x")
    assert calls == ["fsync", "replace", "fsync"]


def test_files_are_as_readable_as_the_umask_allows(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "ours.txt", "x")
    (tmp_path / "usual.txt").write_text("x")
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "usual.txt").stat().st_mode


def test_json_keeps_the_order_of_keys_and_has_no_nan(tmp_path: Path) -> None:
    value = {"z": float("nan"), "a": np.float32(0.5), "n": np.int64(3), "list": [float("inf"), "é"]}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert list(json.loads(text).items()) == [("z", None), ("a", 0.5), ("n", 3), ("list", [None, "é"])]
    assert text.endswith("}\n")


def test_a_file_name_that_is_no_unicode_can_be_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": os.fsdecode(b"b\xff.jpg")})
    assert "b" in json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["path"]


def test_lines_are_in_the_file_once_write_returns(tmp_path: Path) -> None:
    lines = AppendedLines(tmp_path / "log")
    assert lines.offset() == 0
    lines.write("one")
    assert (tmp_path / "log").read_bytes() == b"one\n"
    assert lines.offset() == 4
    lines.flush()


def test_lines_behind_the_offset_are_forgotten(tmp_path: Path) -> None:
    lines = AppendedLines(tmp_path / "log")
    lines.write("one")
    offset = lines.offset()
    lines.write("two")
    AppendedLines(tmp_path / "log", offset).write("again")
    assert (tmp_path / "log").read_text() == "one\nagain\n"


def test_a_file_cut_shorter_goes_on_after_its_last_whole_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntw")
    AppendedLines(tmp_path / "log", 1000).write("three")
    assert (tmp_path / "log").read_text() == "one\nthree\n"


def test_a_line_break_in_a_name_starts_no_line() -> None:
    assert one_line("ok\nerror: forged\r\u2028") == "ok\\nerror: forged\\r\\u2028"


def test_what_is_nested_too_deeply_is_no_json() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parsed_json("[" * 200_000)
    with pytest.raises(ValueError, match="4300 digits"):
        parsed_json("9" * 5000)
    assert parsed_json(b'{"a": [1]}') == {"a": [1]}


def test_the_file_that_a_full_disk_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as told:
        atomic_write_bytes(tmp_path / "a.bin", b"new")
    assert told.value.filename == str(tmp_path / "a.bin")
    assert not os.listdir(tmp_path)


def test_what_a_killed_process_left_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    left, new = tmp_path / ".a.csv.0123.writing", tmp_path / ".a.csv.4567.writing"
    left.write_text("half")
    os.utime(left, (0, 0))
    new.touch()
    with growing_file(tmp_path / "a.csv") as one:
        one("1\n")
        with growing_file(tmp_path / "a.csv") as other:
            other("2\n")
    assert (tmp_path / "a.csv").read_text() == "1\n"
    # Made a moment ago, and maybe held in another.
    assert unfinished(tmp_path) == [new]


_DEEP = f'{{"sha256": "", "a": {"[" * 600}{"]" * 600}}}'
"""It can be read, and not be walked through."""


def test_what_has_changed_since_it_was_signed_is_refused(tmp_path: Path) -> None:
    path, values = tmp_path / "a.json", {"cut": 1, "mean": (0.5, float("nan")), "asked": {"b": None}}
    write_signed_json(path, values)
    assert read_signed_json(path) == {"cut": 1, "mean": [0.5, None], "asked": {"b": None}}
    for wrong in (path.read_text().replace("1", "2"), '{"cut": 1}', "[]", "{}", "", "[" * 100_000, _DEEP):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"changed|nested|Expecting"):
            read_signed_json(path)


def test_no_file_takes_the_place_of_a_device_or_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="device or a pipe"):
        atomic_write_text(pipe, "text")
    with pytest.raises(OSError, match="device or a pipe"), growing_file(pipe) as write:
        write("text")
    assert pipe.is_fifo() and [*tmp_path.iterdir()] == [pipe]
    assert is_special(Path("/dev/null")) and not is_special(tmp_path) and not is_special(tmp_path / "new")


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    for left in (".page.html.0123abcd.writing", ".other.html.0123abcd.writing"):
        (tmp_path / left).write_text("half")
        os.utime(tmp_path / left, (1, 1))
    atomic_write_text(tmp_path / "page.html", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", ".other.html.0123abcd.writing"}


def test_a_file_is_hashed_again_once_it_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    one = files.remembered_sha256(path)
    assert one == files.file_sha256(path)
    monkeypatch.setattr(files, "_SETTLED_SECONDS", 0.0)
    time.sleep(0.05)
    assert files.remembered_sha256(path) == one
    path.write_bytes(b"two")
    two = files.remembered_sha256(path)
    assert two == files.file_sha256(path) != one, "of the same size"
    other = tmp_path / "other"
    other.write_bytes(b"new")
    other.replace(path)
    time.sleep(0.05)
    assert files.remembered_sha256(path) == files.file_sha256(path) not in (one, two)
    monkeypatch.setattr(files, "file_sha256", lambda path: pytest.fail("it has not changed"))
    files.remembered_sha256(path)
