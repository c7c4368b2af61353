"""torchvision's classification sets by name, with their standard splits.

torchvision finds, verifies and downloads the files; images in files are decoded by `decode.open_image` like all others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading import idx
from transfer_cli.data.reading.listing import ImageFiles, Indices, Listing, read_pixels
from transfer_cli.data.reading.paths import ExpectedPath, check_path
from transfer_cli.downloads.for_torchvision import torchvision_downloads
from transfer_cli.downloads.staging import Staging, is_archive
from transfer_cli.downloads.transfer import DownloadError, Watch
from transfer_cli.errors import RunError, UserError

PATH = ExpectedPath("folder that holds the set, or is to hold it", download=True)

Samples = NDArray[np.uint8] | Sequence[str]
"""Pixels [N, H, W] or [N, H, W, 3], or files."""


def _pixels_last(dataset: Any) -> tuple[Samples, Sequence[int]]:
    return np.asarray(dataset.data), dataset.targets


def _pixels_first(dataset: Any) -> tuple[Samples, Sequence[int]]:
    return dataset.data.transpose(0, 2, 3, 1), dataset.labels


def _image_files(dataset: Any) -> tuple[Samples, Sequence[int]]:
    return [str(file) for file in dataset._image_files], dataset._labels


def _images(dataset: Any) -> tuple[Samples, Sequence[int]]:
    return [str(file) for file in dataset._images], dataset._labels


def _pairs(dataset: Any) -> tuple[Samples, Sequence[int]]:
    return [str(file) for file, _ in dataset._samples], [label for _, label in dataset._samples]


def _folder_pairs(dataset: Any) -> tuple[Samples, Sequence[int]]:
    return [str(file) for file, _ in dataset.samples], dataset.targets


def _caltech(dataset: Any) -> tuple[Samples, Sequence[int]]:
    folder = os.path.join(dataset.root, "101_ObjectCategories")
    names = [(dataset.categories[label], number) for label, number in zip(dataset.y, dataset.index, strict=True)]
    return [os.path.join(folder, name, f"image_{number:04d}.jpg") for name, number in names], dataset.y


def _own_classes(dataset: Any) -> Sequence[str]:
    classes: Sequence[str] = dataset.classes
    return classes


def _numbered(count: int) -> Callable[[Any], Sequence[str]]:
    return lambda dataset: [f"{label:0{len(str(count - 1))}d}" for label in range(count)]


_TRAIN_FLAG: Mapping[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_TEST: Mapping[str, dict[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_ALL_THREE: Mapping[str, dict[str, Any]] = {split: {"split": split} for split in ("train", "val", "test")}
_ONE_POOL: Mapping[str, dict[str, Any]] = {"train": {}}


@dataclass(frozen=True)
class Spec:
    """How torchvision names a set, its splits and its samples."""

    dataset: str
    """Class in torchvision.datasets."""
    marker: str
    """The file or folder in dataset.path by which the set is found."""
    splits: Mapping[str, dict[str, Any]]
    """Our split names to the arguments that select torchvision's."""
    samples: Callable[[Any], tuple[Samples, Sequence[int]]]
    classes: Callable[[Any], Sequence[str]] = field(default=_own_classes)
    idx: bool = False
    """Whether it comes in four idx files, which may lie in other places than torchvision's."""
    hashed: bool = True
    """Whether torchvision knows the hashes of what it downloads."""


SETS: dict[str, Spec] = {
    "cifar10": Spec("CIFAR10", "cifar-10-batches-py", _TRAIN_FLAG, _pixels_last),
    "cifar100": Spec("CIFAR100", "cifar-100-python", _TRAIN_FLAG, _pixels_last),
    "mnist": Spec("MNIST", "MNIST", _TRAIN_FLAG, _pixels_last, idx=True),
    "fashion_mnist": Spec("FashionMNIST", "FashionMNIST", _TRAIN_FLAG, _pixels_last, idx=True),
    "stl10": Spec("STL10", "stl10_binary", _TRAIN_TEST, _pixels_first),
    "svhn": Spec("SVHN", "train_32x32.mat", _TRAIN_TEST, _pixels_first, _numbered(10)),
    "flowers102": Spec("Flowers102", "flowers-102", _ALL_THREE, _image_files),
    "food101": Spec("Food101", "food-101", _TRAIN_TEST, _image_files),
    "oxford_pets": Spec(
        "OxfordIIITPet", "oxford-iiit-pet", {"train": {"split": "trainval"}, "test": {"split": "test"}}, _images
    ),
    "stanford_cars": Spec("StanfordCars", "stanford_cars", _TRAIN_TEST, _pairs),
    "dtd": Spec("DTD", "dtd", _ALL_THREE, _image_files),
    "eurosat": Spec("EuroSAT", "eurosat", _ONE_POOL, _folder_pairs),
    "fgvc_aircraft": Spec("FGVCAircraft", "fgvc-aircraft-2013b", _ALL_THREE, _image_files, hashed=False),
    "caltech101": Spec("Caltech101", "caltech101", _ONE_POOL, _caltech, lambda dataset: dataset.categories),
    "gtsrb": Spec("GTSRB", "gtsrb", _TRAIN_TEST, _pairs, _numbered(43)),
    # The figures published for Imagenette are those of its "val": here the split that is touched once, at the end.
    "imagenette": Spec(
        "Imagenette",
        "imagenette2",
        {"train": {"split": "train"}, "test": {"split": "val"}},
        _pairs,
        lambda dataset: [names[0] for names in dataset.classes],
    ),
}


def load(dataset: Dataset) -> Listing:
    """The set `dataset.name` below `dataset.path`. Raises UserError if it is missing, damaged or cannot be fetched."""
    name, spec = dataset.name, SETS[dataset.name]
    root = _holder(str(check_path(dataset, PATH)), spec.marker)
    expected = os.path.join(root, spec.marker)
    places = [os.path.join(expected, "raw"), expected, root, os.path.join(root, "raw")] if spec.idx else []
    files = idx.find([Path(place) for place in places])
    if files is not None:
        return _from_idx(name, spec, root, files)
    # Looked for before torchvision is imported (2 s), which also creates some folders it does not find.
    if not dataset.download and not os.path.exists(expected):
        raise UserError(
            f"dataset={name}: not found, looked for {expected}. Set dataset.path to the folder that holds "
            f"{spec.marker}{' or the four idx files (or .gz)' * spec.idx}, or dataset.download=true to fetch it there."
        )
    if dataset.download and _is_there(name, root):
        sets = _mended(name, root)
    else:
        if dataset.download:
            fetch(name, root)
        sets = {split: _open(name, spec, root, arguments) for split, arguments in spec.splits.items()}
    classes = tuple(str(label) for label in spec.classes(sets["train"]))
    return _join(name, root, classes, {split: spec.samples(opened) for split, opened in sets.items()})


def fetch(name: str, root: str, watch: Watch | None = None) -> bool:
    """Download a set to below `root` where it is not there; whether it was not.

    It is found there only once it is complete: what torchvision has extracted in part it would take for all of it.
    Raises UserError where the set cannot be fetched, RunError for a full disk.
    """
    spec, staging = SETS[name], Staging(Path(root), name)
    if _is_there(name, root):
        _mended(name, root, watch)
        return False
    with staging.alone():
        if not _is_found(spec, root) and not staging.is_complete():
            staging.prepare()
            with torchvision_downloads(watch, verified=spec.hashed):
                for arguments in spec.splits.values():
                    _open(name, spec, root, arguments, download_to=str(staging.folder))
            staging.drop_archives()
        staging.settle(spec.marker)
    return True


def _is_found(spec: Spec, root: str) -> bool:
    return os.path.exists(os.path.join(root, spec.marker))


def _is_there(name: str, root: str) -> bool:
    """Whether a set is found, and no process was killed while it moved it there."""
    return _is_found(SETS[name], root) and not Staging(Path(root), name).is_complete()


def _mended(name: str, root: str, watch: Watch | None = None) -> dict[str, Any]:
    """The splits of a set that is there; torchvision brings what is missing, where it can tell."""
    spec, opened = SETS[name], {}
    with torchvision_downloads(watch, verified=spec.hashed):
        for split, arguments in spec.splits.items():
            try:
                opened[split] = _open(name, spec, root, arguments)
            except UserError:
                opened[split] = _open(name, spec, root, arguments, download_to=root)
    return opened


def files_of(name: str, root: str) -> list[Path]:
    """The files of a set that is below `root`, without archives of it and without hidden files."""
    first = SETS[name].marker.split("/")[0]
    tops = [*Path(root).glob("*_32x32.mat")] if name == "svhn" else [Path(root, first)]
    found = [Path(folder, file) for top in tops for folder, _, files in os.walk(top) for file in files]
    found += [top for top in tops if top.is_file()]
    return sorted(path for path in found if not is_archive(path.name) and not _is_hidden(path.relative_to(root)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _holder(given: str, marker: str) -> str:
    """The folder that holds the set: the one given, or the one above where the set's own folder was given."""
    own = marker.split("/")[0]
    here = os.path.abspath(given)
    inside = os.path.basename(here) == own and os.path.isdir(here) and not os.path.exists(os.path.join(here, own))
    return os.path.dirname(here) if inside else given


def _from_idx(name: str, spec: Spec, root: str, files: idx.Files) -> Listing:
    """The set from its four files."""
    from torchvision import datasets

    classes = tuple(spec.classes(getattr(datasets, spec.dataset)))
    found: dict[str, tuple[Samples, Sequence[int]]] = {
        split: idx.read_split(files, split, len(classes)) for split in ("train", "test")
    }
    return _join(name, root, classes, found)


def _open(name: str, spec: Spec, root: str, arguments: dict[str, Any], *, download_to: str | None = None) -> Any:
    """One of torchvision's data sets, errors in the user's terms; `download_to`: fetched to that folder."""
    from torchvision import datasets

    try:
        return getattr(datasets, spec.dataset)(download_to or root, **arguments, download=download_to is not None)
    except (UserError, RunError):
        raise
    except DownloadError as error:
        raise UserError(
            f"dataset={name}: could not be downloaded to {root} ({error}). On a connected machine mode=fetch "
            f"dataset={name} fetch.pack=kit.tar packs it, to be carried here for mode=fetch fetch.unpack=kit.tar."
        ) from error
    except Exception as error:  # torchvision, urllib and the unpickling of damaged files raise a dozen types
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunError(f"dataset={name}: {root} cannot be written ({error.strerror}). Make room there.") from error
        tried = "could not be downloaded to" if download_to else "is incomplete or damaged in"
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"dataset={name}: {tried} {root} ({reason}). It is expected at "
            f"{os.path.join(root, spec.marker)}, laid out as torchvision.datasets.{spec.dataset} has it."
        ) from error


def _join(name: str, root: str, classes: tuple[str, ...], found: dict[str, tuple[Samples, Sequence[int]]]) -> Listing:
    """The splits one after the other as one set of samples."""
    ends = np.cumsum([0] + [len(labels) for _, labels in found.values()])
    splits: dict[str, Indices] = {
        split: np.arange(start, end) for split, start, end in zip(found, ends[:-1], ends[1:], strict=True)
    }
    labels = np.concatenate([np.asarray(labels, dtype=np.int64) for _, labels in found.values()])
    samples = [samples for samples, _ in found.values()]
    if isinstance(samples[0], np.ndarray):
        keys = [f"{split}/{index}" for split, indices in splits.items() for index in range(len(indices))]
        read = partial(read_pixels, np.concatenate(samples))
        return Listing(classes, keys, labels, splits, read, prefix=f"{name}/", published=True)
    keys = [os.path.relpath(file, root) for files in samples for file in files]
    images = ImageFiles(root, keys)
    return Listing(
        classes, keys, labels, splits, images.read, prefix=os.path.join(root, ""), files=True, encoded=images
    )
