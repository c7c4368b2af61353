"""What libraries print inside `silenced` reaches nobody, and errors do."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from transfer_cli.runs.export.quiet import silenced


def chatter() -> None:
    print("printed")
    print("printed", file=sys.stderr)
    os.write(1, b"from C++")
    os.write(2, b"from C++")
    warnings.warn("warned", stacklevel=1)
    logging.getLogger("library").error("logged")
    raise KeyError("raised")


def test_nothing_is_seen_and_everything_is_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError, match="raised"), silenced():
        chatter()
    assert capfd.readouterr() == ("", "")
    print("heard")
    os.write(2, b"heard")
    assert capfd.readouterr() == ("heard\n", "heard")
    assert logging.root.manager.disable == logging.NOTSET
