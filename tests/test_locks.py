"""Locks that cannot be had say why."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from filelock import FileLock

from transfer_cli.errors import UserError
from transfer_cli.locks import locked


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_of_others_is_no_fault_of_its_lock(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, "refused", str(tmp_path / ".lock"))

    monkeypatch.setattr(FileLock, "acquire", refused)
    with pytest.raises(UserError) as raised, locked(tmp_path / ".lock"):
        pass
    assert str(raised.value).startswith(f"{tmp_path}: nothing can be written there (refused).")


def test_a_folder_in_its_place_is_to_be_removed(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match=r"\.lock: cannot be used as a lock .*Remove it"), locked(tmp_path / ".lock"):
        pass
