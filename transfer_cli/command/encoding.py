"""Names of files are bytes, and read as UTF-8 whatever the locale says: else the same folders would have other class
names, and so other splits, on another machine."""

from __future__ import annotations

import codecs
import os
import sys

from transfer_cli.errors import UserError


def restart_in_utf8() -> None:
    """Where the locale's encoding is not UTF-8, replace this process by the same command in Python's UTF-8 mode.

    What a running Python takes names for cannot be changed any more. The terminal goes on in its own encoding. Raises
    UserError where there is no such restart.
    """
    encoding = sys.getfilesystemencoding()
    if codecs.lookup(encoding).name == "utf-8":
        return
    problem = f"the locale's encoding is {encoding}, and names of files are read as UTF-8"
    if not sys.executable or os.environ.get("PYTHONUTF8") == "1":
        raise UserError(f"{problem}: run the command with PYTHONUTF8=1, or in a locale such as C.UTF-8.")
    os.environ["PYTHONUTF8"] = "1"
    # What the terminal cannot show is shown as an escape rather than ends the run.
    shown = getattr(sys.stdout, "encoding", None) or encoding
    os.environ.setdefault("PYTHONIOENCODING", f"{shown}:backslashreplace")
    try:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    except OSError as error:
        raise UserError(
            f"{problem}, but Python cannot be started again ({error.strerror}): set PYTHONUTF8=1."
        ) from None
