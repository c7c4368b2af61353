"""Where pretrained weights come from, and how they get into a network. Loading never runs code from a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer_cli.errors import UserError
from transfer_cli.files import file_sha256
from transfer_cli.models import fetching
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import SeenWeights, WeightsSource, published

WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state")
# Auxiliary classifiers that some weights carry and no model here has.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
SHOWN_NAMES = 5


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: a label for people, the file's sha256 (None for random weights), whether the head was kept."""

    label: str
    sha256: str | None
    head_kept: bool


def resolve(name: str, source: str, weights: str, seen: SeenWeights | None = None) -> WeightsSource:
    """Which weights are meant: auto, none, a torchvision enum name, a timm tag, a file or a run directory.

    `seen` remembers what the libraries say. Raises UserError naming model.weights for anything else.
    """
    path = Path(weights)
    if path.is_dir():
        return _run_directory(path)
    best = partial(published, name, source, None, seen)
    if weights == "auto":
        return best()
    if weights == "none":
        return replace(best(), kind="none", label="random weights", location=None, remote=None, classes=None)
    if path.is_file():
        return replace(best(), kind="file", label=f"weights {path}", location=path, remote=None, classes=None)
    return published(name, source, weights, seen)


def fetch(source: WeightsSource) -> Path:
    """Download what is not on this machine. Raises UserError at once where that cannot work."""
    assert source.remote is not None
    return fetching.fetch(source.remote, source.otherwise)


def load(network: Network, source: WeightsSource, image_size: int, *, keep_head: bool = False) -> LoadReport:
    """Fill the network from its source; a head of another shape is left at its random start, which is normal.

    A head of the right shape is kept from files and runs; from published weights, which know other classes, only if
    `keep_head` asks for it.
    Raises UserError for a file that is damaged, hostile, or of another architecture.
    """
    if source.kind == "none":
        return LoadReport(source.label, None, False)
    assert source.location is not None
    tensors = _adapted(read_tensors(source.location), network, source, image_size)
    own = network.module.state_dict()
    head = _classifier_names(network)
    kept = (keep_head or source.kind in ("file", "run")) and all(
        n in tensors and tensors[n].shape == own[n].shape for n in head
    )
    if not kept:
        paths = network.stages[-1].modules if network.has_features else ()
        # A run may have had another kind of head, of other tensors.
        body = {name: tensor for name, tensor in tensors.items() if not any(_below(name, path) for path in paths)}
        tensors = {**body, **{name: own[name] for name in head}}
    _check_fit(own, tensors, source)
    network.module.load_state_dict(tensors)
    label = source.label if kept or source.kind not in ("file", "run") else f"{source.label} (its head replaced)"
    return LoadReport(label, file_sha256(source.location), kept)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors file or a torch checkpoint. Raises UserError; never unpickles objects."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(
                f"model.weights: {path}: not a readable safetensors file ({_first_line(error)})."
            ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Unpickling damaged or hostile bytes can raise anything; whatever it was, the file is not weights.
        raise UserError(
            f"model.weights: {path}: no weights that can be loaded safely ({_first_line(error)}). "
            "Save a plain state_dict, best as .safetensors."
        ) from error
    return _state_dict(path, content)


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"model.weights: {path}: expected a state_dict of tensors.")
    odd = [name for name, t in content.items() if t.layout != torch.strided or t.is_quantized]
    if odd:
        raise UserError(
            f"model.weights: {path}: sparse or quantised tensors cannot be loaded "
            f"({', '.join(map(str, odd[:SHOWN_NAMES]))})."
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _adapted(tensors: dict[str, Tensor], network: Network, source: WeightsSource, image_size: int) -> dict[str, Tensor]:
    """Names and shapes as the architecture wants them: converted, position embeddings interpolated."""
    own = network.module.state_dict()
    if source.kind == "package":
        # The same architecture under other names, tensor for tensor in order.
        return dict(zip(own, tensors.values(), strict=False)) if len(own) == len(tensors) else tensors
    if source.kind == "run":
        return tensors
    if type(network.module).__module__.startswith("timm."):
        convert = getattr(sys.modules[type(network.module).__module__], "checkpoint_filter_fn", None)
        return dict(convert(tensors, network.module)) if convert else tensors
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(AUXILIARY)}
    position = tensors.get("encoder.pos_embedding")
    if position is not None and position.shape != own["encoder.pos_embedding"].shape:
        from torchvision.models.vision_transformer import interpolate_embeddings

        patch = int(network.module.patch_size)  # type: ignore[arg-type]
        return dict(interpolate_embeddings(image_size, patch, tensors))  # type: ignore[arg-type]
    return tensors


def _check_fit(own: dict[str, Tensor], tensors: dict[str, Tensor], source: WeightsSource) -> None:
    missing = [f"{name} missing" for name in own if name not in tensors]
    extra = [f"{name} not in the model" for name in tensors if name not in own]
    shapes = [
        f"{name} has shape {list(tensors[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    problems = [*shapes, *missing, *extra]
    if problems:
        more = f" and {len(problems) - SHOWN_NAMES} more" if len(problems) > SHOWN_NAMES else ""
        raise UserError(
            f"model.weights: {source.location} does not fit the model: {'; '.join(problems[:SHOWN_NAMES])}{more}."
        )


def _classifier_names(network: Network) -> list[str]:
    """The tensors of the layers that the classes replace."""
    names = list(network.module.state_dict())
    paths = network.stages[-1].modules if network.has_features else _told_classifiers(network)
    return [name for name in names if any(_below(name, path) for path in paths)]


def _told_classifiers(network: Network) -> tuple[str, ...]:
    """What the model itself names as its classifiers, by path; the last layer where it does not."""
    config: Any = getattr(network.module, "pretrained_cfg", None) or {}
    told = config.get("classifier") or _last_layer(network)
    return (told,) if isinstance(told, str) else tuple(told)


def _last_layer(network: Network) -> str:
    """The last layer of a head of several, by path."""
    head = network.stages[-1].modules
    names = [n for n, _ in network.module.named_parameters() if any(_below(n, prefix) for prefix in head)]
    return names[-1].rsplit(".", 1)[0]


def _below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


def _run_directory(path: Path) -> WeightsSource:
    try:
        description = json.loads((path / "model.json").read_text(encoding="utf-8"))
        preprocessing = Preprocessing.from_dict(description["preprocessing"])
        classes: Sequence[Any] = description["classes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"model.weights={path}: a folder, but no finished run directory ({_first_line(error)})."
        ) from error
    location = path / "model.safetensors"
    if not location.is_file():
        raise UserError(f"model.weights={path}: no model.safetensors in this run directory.")
    return WeightsSource(
        "run", f"weights of run {path}", preprocessing, location, classes=tuple(str(c) for c in classes)
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200].replace(os.linesep, " ")
