"""Python's collector of garbage, kept from looking again and again through what imports leave: half a second a start.

What a process of ours imports stays to its end. In a sweep of heads every third job paid for a look through all of it.
"""

from __future__ import annotations

import gc

_paused = False


def pause() -> None:
    """Collect nothing until `settle`: for a process that is the command, before its imports."""
    global _paused
    _paused = True
    gc.disable()


def settle() -> None:
    """Imports are over: what is there stays, and garbage is collected from now on. Without `pause`, nothing changes."""
    global _paused
    if _paused:
        _paused = False
        gc.freeze()
        gc.enable()
