"""Files that hold weights, and those that were taken for one. Reading never runs code from a file.

What a file is shows in its first bytes, whatever it is called. Torch's own unpickler knows tensors and plain values;
what trainers keep beside the weights (arguments, paths, numbers of NumPy) is read as objects without any meaning.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer_cli.errors import UserError, first_line
from transfer_cli.models.tensors import check_unchanged

_MOST_NESTED = 10
WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "model_state", "net", "network", "teacher", "student"),
    *("state_dict_ema", "model_ema", "ema", "weights", "params"),
)
"""Under which keys trainers keep the weights; the first that is there counts."""

SHOWN_NAMES = 5
HEAD_BYTES = 512
_GIT_LFS = b"version https://git-lfs"
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
_MAGIC = {
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"\x89HDF": "an HDF5 file, as Keras writes it: convert it to a state_dict of this architecture first",
    b"\x93NUMPY": "a NumPy array, not a state_dict",
    b"GGUF": "a GGUF file of a quantised language model",
}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, and which of its networks they are where it holds several (`state_dict_ema`, say)."""

    tensors: dict[str, Tensor]
    key: str | None = None
    others: tuple[str, ...] = ()


class Inert:
    """Stands for an object of a checkpoint that is no weights: it takes whatever it is given and does nothing."""

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


_INERT = (
    *("argparse.Namespace", "types.SimpleNamespace", "typing.Any"),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "datetime.datetime"),
    *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray"),
    *("datetime.timedelta", "datetime.date"),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "nodes.AnyNode")),
    *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"),
    *("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",),
)
_DICTS = (
    *("pytorch_lightning.utilities.parsing.AttributeDict", "lightning_fabric.utilities.data.AttributeDict"),
    "lightning.fabric.utilities.data.AttributeDict",
)
"""Objects beside the weights, by the names that they are pickled under: data without any meaning, and dictionaries."""


def read_checkpoint(path: Path) -> Checkpoint:
    """What is in a safetensors file or a torch checkpoint. Raises UserError saying what the file is instead."""
    problem = other_kind(path)
    if problem is not None:
        raise UserError(f"model.weights: {path}: {problem}.")
    if path.suffix == ".safetensors" or _is_safetensors(path):
        found = Checkpoint(_read_safetensors(path))
    else:
        found = _state_dict(path, _unpickled(path))
    _check_plain(path, found.tensors)
    return found


def other_kind(path: Path) -> str | None:
    """What a file is that cannot be weights, and what to do; None where it may be."""
    head = _head(path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file; download or copy it again"
    if head.startswith(_GIT_LFS):
        return "a Git LFS pointer, not the file that it stands for: fetch that with git lfs pull, or download it"
    if text.startswith(_MARKUP):
        return "a web page that was saved under this name: download the file itself, not the page that shows it"
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"PK"):
        return _other_zip(path)
    if text.startswith((b"{", b"[")):
        return "a JSON file, which lists or describes weights: name the file that holds them"
    return None


def _other_zip(path: Path) -> str | None:
    """What a zip archive is, if it is no checkpoint of torch's, which are such archives too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return "the beginning of a torch checkpoint or zip archive: its end is missing, download or copy it again"
    inside = {name.partition("/")[2] for name in names}
    if any(name.startswith("code/") for name in inside) or "constants.pkl" in inside:
        return "a TorchScript program, which is code: save the state_dict() of its model instead"
    if "data.pkl" in inside or "data.pkl" in names:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz), not a state_dict"
    listed = ", ".join(names[:SHOWN_NAMES])
    return f"a zip archive with {listed or 'nothing'} in it: unpack it, and name the weights that it holds"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise UserError(f"model.weights: {path}: cannot be read ({error.strerror}).") from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, with the length of a header and the header."""
    head = _head(path)
    return head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"model.weights: {path}: not a readable safetensors file ({first_line(error)}).") from error
    if not found:
        raise UserError(f"model.weights: {path}: a safetensors file without tensors.")
    check_unchanged(path, found)
    return found


def _unpickled(path: Path) -> Any:
    known: list[Any] = [*((Inert, name) for name in _INERT), *((dict, name) for name in _DICTS)]
    try:
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Unpickling damaged or hostile bytes can raise anything; whatever it was, the file is not weights.
        raise UserError(
            f"model.weights: {path}: no weights that can be loaded safely ({_reason(error)}). "
            "Save a plain state_dict, best as .safetensors."
        ) from error


def _reason(error: Exception) -> str:
    """Why torch refused, in our words: its own would tell how to run what a file holds."""
    text = str(error)
    _, found, rest = text.partition("GLOBAL ")
    if found and rest:
        return f"it holds an object of {rest.split()[0]}, which only that code could restore"
    if "Weights only load failed" in text or "weights_only" in text:
        return "damaged, or more than tensors and plain values"
    return first_line(error)


def _state_dict(path: Path, content: Any) -> Checkpoint:
    taken: str | None = None
    left: tuple[str, ...] = ()
    for _ in range(_MOST_NESTED):
        if not isinstance(content, dict):
            break
        wrapped = [key for key in WRAPPERS if _holds_tensors(content.get(key))]
        alone = [value for value in content.values() if _holds_tensors(value)]
        if wrapped:
            content = content[wrapped[0]]
            if len(wrapped) > 1:
                taken, left = wrapped[0], tuple(wrapped[1:])
        elif not _has_tensors(content) and len(alone) == 1:
            content = alone[0]
        else:
            break
    if not isinstance(content, dict) or not _has_tensors(content):
        keys = f", not a dict of {', '.join(map(str, [*content][:SHOWN_NAMES]))}" if isinstance(content, dict) else ""
        raise UserError(f"model.weights: {path}: expected a state_dict of tensors{keys}.")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return Checkpoint(tensors, taken, left)


def _check_plain(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises UserError for tensors that are no plain arrays."""
    for kind, is_odd in _ODD.items():
        odd = [name for name, tensor in tensors.items() if is_odd(tensor)]
        if odd:
            shown = f"{', '.join(odd[:SHOWN_NAMES])}{', ...' * (len(odd) > SHOWN_NAMES)}"
            raise UserError(f"model.weights: {path}: {kind} cannot be loaded ({shown}).")


_ODD: dict[str, Callable[[Tensor], bool]] = {
    "meta tensors, which have shapes and no values,": lambda tensor: tensor.is_meta,
    "sparse or quantised tensors": lambda tensor: tensor.layout != torch.strided or tensor.is_quantized,
    "nested tensors": lambda tensor: tensor.is_nested,
}


def _has_tensors(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in content.values())


def _holds_tensors(value: Any, depth: int = _MOST_NESTED) -> bool:
    """Whether a value is a dictionary with a tensor in it, at any depth; a hostile one may hold itself."""
    if depth == 0 or not isinstance(value, dict):
        return False
    return _has_tensors(value) or any(_holds_tensors(inner, depth - 1) for inner in value.values())
