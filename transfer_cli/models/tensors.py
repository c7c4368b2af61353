"""Tensors in a safetensors file."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transfer_cli.errors import UserError, first_line
from transfer_cli.files import UNFINISHED, fsync_directory, tensors_written
from transfer_cli.models.shards import like


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Copy tensors by name into a module.

    Those of a file lack the versions that torch keeps beside a state dict, without which a few modules (torchvision's
    MNASNet) refuse to load: they are taken for ones of today's version.
    """
    own = module.state_dict()
    state = OrderedDict((name, like(tensor, own.get(name))) for name, tensor in tensors.items())
    state._metadata = own._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state, strict=strict)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Raises UserError for a file that is damaged."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({first_line(error)}).") from error


def metadata_of(path: Path) -> dict[str, str]:
    """What was written beside the tensors; nothing where no file can be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return {}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name; one that a model has under several names is written under each.

    Raises OSError, also where the library has an error of its own for a full disk.
    """
    written: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous().cpu()
        storage = tensor.untyped_storage().data_ptr()
        # The library refuses tensors that share their memory.
        written[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    with tensors_written(path):
        save_file(written, path, None if metadata is None else dict(metadata))


def replace_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors by name; the file is there whole, or as it was before."""
    temporary = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        write_tensors(temporary, tensors, metadata)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)
