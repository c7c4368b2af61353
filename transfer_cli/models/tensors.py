"""Tensors in a safetensors file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from transfer_cli.files import fsync_directory


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name. Raises OSError, also where the library has an error of its own for a full disk."""
    try:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error


def replace_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name; the file is there whole, or as it was before."""
    temporary = path.with_name(f".{path.name}.writing")
    write_tensors(temporary, tensors)
    os.replace(temporary, path)
    fsync_directory(path.parent)
