"""What an export may replace, and what it must leave alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from transfer_cli.errors import UserError
from transfer_cli.runs.export.folder import check_target, made_whole, write_report


def export(target: Path, *names: str) -> None:
    check_target(target)
    with made_whole(target) as folder:
        for name in names:
            (folder / name).write_text(name)
        write_report(folder, {"format": "x"})


def names(target: Path) -> list[str]:
    return sorted(os.listdir(target))


def test_an_earlier_export_is_replaced_and_what_others_put_beside_it_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "in" / "deploy"
    export(target, "model.onnx", "config.json")
    export(target, "model.pt2")
    assert names(target) == ["export.json", "model.pt2"] and names(target.parent) == ["deploy"]
    for name in ("server.py", "config.json"):
        (target / name).write_text("mine")
        with pytest.raises(UserError, match=rf"deploy: holds files that are of no export \({name}\); name another"):
            export(target, "model.onnx")
        assert (target / name).read_text() == "mine" and "model.pt2" in names(target)
        (target / name).unlink()
    (target / "export.json").write_text("[]")
    with pytest.raises(UserError, match=r"of no export \(export\.json, model\.pt2\)"):
        check_target(target)


def test_the_folder_may_be_a_link_or_the_one_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    export(Path(), "model.onnx")
    export(tmp_path / "link", "model.pt2")
    export(Path("."), "model.pth")
    assert names(Path()) == ["export.json", "model.pth"] and names(tmp_path) == ["link", "real"]
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "ahead").symlink_to("later")
    export(tmp_path / "ahead", "model.onnx")
    assert (tmp_path / "ahead").is_symlink() and names(tmp_path / "later") == ["export.json", "model.onnx"]


def test_the_report_is_replaced_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the earlier one says which files are of an export, those to come among them."""
    export(tmp_path, "model.onnx")
    replaced, real = [], os.replace

    def watched(source: Path, target: Path) -> None:
        replaced.append(Path(target).name)
        real(source, target)

    check_target(tmp_path)
    with made_whole(tmp_path) as folder:
        (folder / "model.pt2").write_text("x")
        write_report(folder, {})
        monkeypatch.setattr(os, "replace", watched)
    assert replaced == ["export.json", "model.pt2", "export.json"]


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_export_left_goes_and_refuses_nothing(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "out"
    if there:
        export(place, "model.onnx")
        # It had just begun to replace the files.
        (place / "export.json").write_text('{"files": ["export.json", "model.onnx", "model.pt2"]}')
        (place / "model.pt2").write_text("new")
    left = (place if there else tmp_path) / ".out.0123.writing"
    left.mkdir()
    (left / "model.pt2").write_text("half")
    os.utime(left, (0, 0))
    check_target(place)
    export(place, "model.onnx")
    assert names(place) == ["export.json", "model.onnx"] and names(tmp_path) == ["out"]


def interrupted(target: Path) -> None:
    with made_whole(target) as folder:
        (folder / "model.onnx").write_text("half")
        raise KeyboardInterrupt


def test_what_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "in" / "new"
    export(old, "model.onnx")
    for target in (old, new):
        with pytest.raises(KeyboardInterrupt):
            interrupted(target)
    assert names(tmp_path) == ["old"]
    assert names(old) == ["export.json", "model.onnx"] and (old / "model.onnx").read_text() == "model.onnx"
