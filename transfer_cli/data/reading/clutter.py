"""What systems, storage boxes and editors put between people's images, and what is no part of a data set."""

from __future__ import annotations

HIDDEN_COPIES = ".ipynb_checkpoints"
"""Hidden like others, but it holds copies of a user's own files: worth a word."""

_FOLDERS = frozenset(
    {"@eadir", "@recycle", "#recycle", "@recently-snapshot", "#snapshot", "@tmp", "@__thumb"}  # storage boxes
    | {"$recycle.bin", "system volume information", "found.000", "lost+found", "lost.dir"}  # file systems
    | {"__macosx", "__pycache__", HIDDEN_COPIES, "thumbnails", "thumbnail"}  # programs
)


def is_clutter(folder: str) -> bool:
    """Whether a folder of this name holds copies, thumbnails or what was thrown away."""
    return folder.lower() in _FOLDERS
