"""Where pretrained weights come from, and how they get into a network. Loading never runs code from a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from transfer_cli.errors import UserError, first_line
from transfer_cli.files import file_sha256, parsed_json
from transfer_cli.models import fetching, licenses
from transfer_cli.models.checkpoint_files import read_checkpoint
from transfer_cli.models.fitting import COUNTER, check_fit, without_prefix
from transfer_cli.models.input_layer import adapted
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import SeenWeights, WeightsSource, published
from transfer_cli.models.tensors import load_into

# Auxiliary classifiers that some weights carry and no model here has.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


@dataclass(frozen=True)
class LoadReport:
    """What was loaded: a label for people, the file's sha256 (None for random weights), whether the head was kept."""

    label: str
    sha256: str | None
    head_kept: bool
    new_rows: tuple[int, ...] | None = None
    """Where only some rows of the head were kept: those of classes that the weights do not know."""


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
        return replace(_of_nobody(best()), kind="none", label="random weights")
    if path.is_file():
        own = _of_nobody(best())
        return replace(own, kind="file", label=f"weights {path}", location=path, classes=_classes_beside(path))
    return published(name, source, weights, seen)


def _of_nobody(source: WeightsSource) -> WeightsSource:
    """What is known of a model without anything that its published weights bring."""
    return replace(source, location=None, remote=None, classes=None, license=None, base=None)


def fetch(source: WeightsSource) -> Path:
    """Download what is not on this machine. Raises UserError at once where that cannot work."""
    assert source.remote is not None
    return fetching.fetch(source.remote, source.otherwise)


def load(
    network: Network,
    source: WeightsSource,
    image_size: int,
    *,
    keep_head: bool = False,
    classes: Sequence[str] | None = None,
) -> LoadReport:
    """Fill the network from its source; a head of other classes is left at its random start, which is normal.

    `classes` are those that the network is to tell apart: of a run's head the rows of the same names are kept, and none
    of a file that names no classes. Without them a head of the right shape is kept from files and runs; from
    published weights, which know other classes, only if `keep_head` asks for it.
    Raises UserError for a file that is damaged, hostile, or of another architecture.
    """
    if source.kind == "none":
        return LoadReport(source.label, None, False)
    assert source.location is not None
    checkpoint = read_checkpoint(source.location)
    tensors, prefix = _in_our_names(checkpoint.tensors, network, source, image_size)
    if classes is not None:
        head = _head_by_name(network, tensors, source, classes)
    else:
        head = _head_by_shape(network, tensors) if keep_head or source.kind in ("file", "run") else {}
    complete = _completed(network, tensors, head)
    check_fit(network.module, complete, source.location, checkpoint.tensors)
    known = _known(source, classes or ())
    new = tuple(row for row, position in enumerate(known) if position is None) if head else ()
    fits = bool(_head_by_shape(network, tensors))
    load_into(network.module, complete)
    label = source.label
    if checkpoint.key is not None:
        label = f"{label}, {checkpoint.key} of it (not {', '.join(checkpoint.others)})"
    if prefix:
        label = f"{label}, tensors under {prefix.rstrip('.')}"
    if new:
        label = f"{label} (its head kept for {len(known) - len(new)} of {len(known)} classes)"
    elif not head and source.kind in ("file", "run"):
        label = f"{label} (its head replaced{_why_replaced(source, fits)})"
    return LoadReport(label, file_sha256(source.location), bool(head) and not new, new or None)


def _in_our_names(
    tensors: dict[str, Tensor], network: Network, source: WeightsSource, image_size: int
) -> tuple[dict[str, Tensor], str]:
    """The tensors as the architecture names and shapes them, and the prefix that was taken off for it."""
    prefix = ""
    if source.kind == "file":
        assert source.location is not None
        head = _classifier_names(network)
        wanted = [name for name in network.module.state_dict() if name not in head]
        tensors, prefix = without_prefix(tensors, wanted, source.location)
    tensors = _adapted(tensors, network, source, image_size)
    return adapted(source.label, tensors, network.module, network.channels), prefix


def _completed(network: Network, tensors: dict[str, Tensor], head: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with `head`, or with the network's own where that is empty; and what old files do not count."""
    own = network.module.state_dict()
    drawn = {name: own[name] for name in _classifier_names(network)}
    paths = network.stages[-1].modules if network.has_features else ()
    # A run may have had another kind of head, of other tensors.
    others = {name for name in tensors if any(_below(name, path) for path in paths)}
    body = {name: tensor for name, tensor in tensors.items() if head or name not in others}
    counters = {name: tensor for name, tensor in own.items() if name.endswith(COUNTER)}
    return {**counters, **body, **drawn, **head}


def _why_replaced(source: WeightsSource, fits: bool) -> str:
    """Why a head of the right shape was not kept."""
    if not fits:
        return ""
    return ": it knows none of these classes" if source.classes else ": no classes are named"


def _head_by_shape(network: Network, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a head that is taken as it is; none where they do not fit."""
    own = network.module.state_dict()
    names = _classifier_names(network)
    fits = all(name in tensors and tensors[name].shape == own[name].shape for name in names)
    return {name: tensors[name] for name in names} if fits else {}


def _head_by_name(
    network: Network, tensors: dict[str, Tensor], source: WeightsSource, classes: Sequence[str]
) -> dict[str, Tensor]:
    """The network's own head, with the rows of classes that the source knows in place of its own; none: nothing."""
    rows = [(row, position) for row, position in enumerate(_known(source, classes)) if position is not None]
    own = network.module.state_dict()
    head = {name: own[name].clone() for name in _classifier_names(network)}
    several = len(source.classes or ())
    fits = all(name in tensors and tensors[name].shape == (several, *own[name].shape[1:]) for name in head)
    if not rows or not fits:
        return {}
    ours, theirs = (list(places) for places in zip(*rows, strict=True))
    for name, tensor in head.items():
        tensor[ours] = tensors[name][theirs].to(tensor.dtype)
    return head


def _known(source: WeightsSource, classes: Sequence[str]) -> list[int | None]:
    """Of each class the row that the head of a run has for it; None where it has none."""
    own = source.classes if source.kind in ("file", "run") else None
    positions = {name: row for row, name in enumerate(own or ())}
    return [positions.get(name) for name in classes]


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
        description = parsed_json((path / "model.json").read_text(encoding="utf-8"))
        preprocessing = Preprocessing.from_dict(description["preprocessing"])
        classes = _classes_of(description)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"model.weights={path}: a folder, but no finished run directory ({first_line(error)})."
        ) from error
    location = path / "model.safetensors"
    if not location.is_file():
        raise UserError(f"model.weights={path}: no model.safetensors in this run directory.")
    found = WeightsSource("run", f"weights of run {path}", preprocessing, location, classes=classes)
    return _with_start(found, path)


def _with_start(source: WeightsSource, run: Path) -> WeightsSource:
    """With what the summary of a run says of the weights that it started from itself."""
    try:
        summary = parsed_json((run / "summary.json").read_text(encoding="utf-8"))
        own, base = licenses.known(summary.get("weights_license")), summary.get("weights_base")
    except (OSError, ValueError, AttributeError):
        return source
    return replace(source, license=own, base=base if isinstance(base, str) else None)


def _classes_beside(file: Path) -> tuple[str, ...] | None:
    """The classes of the model of a run, where its file is named rather than the run."""
    if file.name != "model.safetensors":
        return None
    try:
        return _classes_of(parsed_json((file.parent / "model.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _classes_of(description: dict[str, Any]) -> tuple[str, ...]:
    """The classes of a run's head; none where it is not one linear layer on the network's own features.

    What another kind of head has learnt, or one that reads other features, is none of this network's.
    """
    classes = classes_in(description)
    return classes if _is_plain(description.get("head", {})) else ()


def classes_in(description: dict[str, Any]) -> tuple[str, ...]:
    """The classes that `model.json` names. Raises KeyError, or ValueError for what is no list of names."""
    classes = description["classes"]
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError("classes are no list of names")
    return tuple(classes)


def _is_plain(head: dict[str, Any]) -> bool:
    """Whether the head of a run is one linear layer on the network's own features."""
    own_features = head.get("pooling", "auto") == "auto" and not head.get("stages")
    return head.get("kind", "linear") in ("linear", "probe") and own_features
