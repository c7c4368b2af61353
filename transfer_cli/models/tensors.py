"""Tensors in a safetensors file."""

from __future__ import annotations

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from transfer_cli.errors import UserError, first_line
from transfer_cli.files import UNFINISHED, fsync_directory, parsed_json, tensors_written
from transfer_cli.models.shards import like

_OURS, _CHECKSUM = "transfer_run", "crc32"
"""The one entry that we write beside tensors, as JSON: of several the library's order differs from run to run."""


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
    """Tensors by name. Raises UserError for a file that is damaged, or was changed since `replace_tensors` wrote it."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({first_line(error)}).") from error
    check_unchanged(path, tensors)
    return tensors


def check_unchanged(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises UserError where a file of `replace_tensors` holds something else than was written.

    Nothing in safetensors would tell: a flipped bit is another weight.
    """
    metadata = metadata_of(path)
    written = metadata.pop(_CHECKSUM, None)
    metadata.pop(_OURS, None)
    if written is not None and written != _checksum(tensors, metadata):
        raise UserError(
            f"{path}: its checksum is not that of what was written: the file is damaged, or another program has "
            "changed it. Restore it, or train again."
        )


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """CRC-32 of names, shapes, types and bytes."""
    found = zlib.crc32(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {[*tensor.shape]}".encode(), found)
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        found = zlib.crc32(plain.view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def metadata_of(path: Path) -> dict[str, str]:
    """What was written beside the tensors; nothing where no file can be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            found = dict(file.metadata() or {})
        ours = parsed_json(found.get(_OURS, "{}"))
        return {**found, **ours} if isinstance(ours, dict) else found
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
    """Write tensors by name, with a checksum; the file is there whole, or as it was before. Raises OSError."""
    beside = {**(metadata or {})}
    ours = json.dumps({**beside, _CHECKSUM: _checksum(tensors, beside)}, sort_keys=True)
    temporary = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        write_tensors(temporary, tensors, {_OURS: ours})
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)
