"""WebDataset shards: tar files of key.jpg with key.cls or key.json, read at random by their offsets.

The layout of "High Performance I/O For Large Scale Deep Learning" (Aizman, Maltzahn and Breuel 2019, arXiv 2001.01858),
as the webdataset package and timm write it: the files of a sample are neighbours and share their name up to its first
dot.
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from PIL import Image

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.decode import open_image
from transfer_cli.data.reading.kinds import is_array, is_image
from transfer_cli.data.reading.labelling import index_labels, split_indices, split_notes
from transfer_cli.data.reading.listing import Listing, few, split_of
from transfer_cli.data.reading.paths import ExpectedPath, check_path
from transfer_cli.data.reading.spelling import one_spelling
from transfer_cli.data.reading.walk import inode_of, walk
from transfer_cli.errors import UserError
from transfer_cli.files import parsed_json

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_LISTED = 5

PATH = ExpectedPath("folder or pattern of .tar shards", kind="any", pattern=True)


class Member(NamedTuple):
    """One file of a sample: what follows the first dot of its name ("jpg", "cls", "seg.png"), and where it is."""

    ending: str
    offset: int
    size: int


class Sample(NamedTuple):
    """An image in a shard and its label, None where labels are not looked at."""

    shard: str
    name: str
    image: Member
    label: str | None


class _SampleError(Exception):
    """What is wrong with one sample."""


@dataclass(frozen=True)
class ShardImages:
    """Images in shards, by index."""

    samples: Sequence[Sample]

    def read(self, index: int) -> Image.Image:
        """Decode an image."""
        sample = self.samples[index]
        return open_image(self.encoded(index), name=f"{sample.shard}/{sample.name}")

    def encoded(self, index: int) -> bytes:
        """The encoded image."""
        sample = self.samples[index]
        with open(sample.shard, "rb") as file:
            file.seek(sample.image.offset)
            return file.read(sample.image.size)

    def location(self, index: int) -> tuple[str, str]:
        """The shard, and offset and size in it."""
        sample = self.samples[index]
        return sample.shard, f"{sample.image.offset} {sample.image.size}"


def load(dataset: Dataset) -> Listing:
    """The samples of a shard, of all shards in a folder, or of those that a pattern matches.

    A shard belongs to the split that its folder or a word of its name says (train-0001.tar). The label is what
    `dataset.label_column` names: an ending (key.cls), or a field of key.json; by default key.cls, else "label" in
    key.json. Raises UserError naming shard and sample.
    """
    path = str(dataset.path)
    root, shards = _shards(dataset)
    splits = [_split(root, shard) for shard in shards]
    if any(splits) and not all(splits):
        raise UserError(
            f"{shards[splits.index(None)]}: train, val or test? Other shards of {path} say it in their name."
        )
    samples: list[Sample] = []
    split_names: list[str] = []
    skipped: list[str] = []
    for shard, split in zip(shards, splits, strict=True):
        found = _index(shard, dataset, skipped)
        samples += found
        split_names += [split or "train"] * len(found)
    if not samples:
        raise UserError(f"dataset.path={path}: no images in {len(shards)} shard(s).")
    notes = [f"{path}: {len(skipped):,} sample(s) without an image are ignored: {few(skipped)}."] if skipped else []
    return _listing(path, root, samples, split_names, notes, labelled=dataset.labels == "classes")


def _listing(
    where: str, root: str, samples: list[Sample], split_names: list[str], notes: list[str], *, labelled: bool
) -> Listing:
    splits = split_indices(where, split_names, len(samples))
    names = [sample.label or "" for sample in samples] if labelled else None
    if names is not None:
        names, said = one_spelling(where, names)
        notes = [*notes, *said]
    classes, labels = index_labels(where, names, splits, len(samples))
    images = ShardImages(samples)
    return Listing(
        classes=classes,
        keys=[f"{os.path.relpath(sample.shard, root)}/{sample.name}" for sample in samples],
        labels=labels,
        splits=splits,
        read=images.read,
        prefix=os.path.join(root, ""),
        files=True,
        encoded=images,
        notes=(*notes, *split_notes(where, splits, labels, classes)),
    )


def _shards(dataset: Dataset) -> tuple[str, list[str]]:
    """The folder that holds all shards, and the shards."""
    root = check_path(dataset, PATH)
    if root.is_dir():
        found = [str(root / item.key) for item in walk(root, {inode_of(root)}) if item.key.endswith(".tar")]
    elif root.is_file():
        found = [str(root)]
    else:
        found = sorted(file for file in glob.glob(str(root), recursive=True) if os.path.isfile(file))
    if not found:
        raise UserError(f"dataset.path={dataset.path}: no .tar shards there.")
    return os.path.commonpath([os.path.dirname(file) or "." for file in found]), found


def _split(root: str, shard: str) -> str | None:
    """The split that a folder above a shard, or else a word of its name, stands for."""
    *folders, name = os.path.relpath(shard, root).split(os.sep)
    for words in (folders, re.split(r"[-_.]", name)):
        splits = {split for word in words if (split := split_of(word))}
        if len(splits) > 1:
            raise UserError(f"{shard}: its name says {' and '.join(sorted(splits))}; one split is expected.")
        if splits:
            return splits.pop()
    return None


def _index(shard: str, dataset: Dataset, skipped: list[str]) -> list[Sample]:
    """The samples of a shard in its order; those without an image go to `skipped`. Raises UserError for bad ones."""
    samples: list[Sample] = []
    problems: list[str] = []
    seen: set[str] = set()
    with _open_tar(shard) as tar:
        for key, group in groupby(_members(tar), key=lambda pair: pair[0]):
            several = [member for _, member in group]
            members = {member.ending: member for member in several}
            try:
                if key in seen or len(members) < len(several):
                    raise _SampleError("occurs twice")
                seen.add(key)
                image = _image(members, dataset)
                if image is None:
                    skipped.append(f"{shard}/{key}")
                    continue
                label = _label(tar, members, dataset.label_column) if dataset.labels == "classes" else None
                samples.append(Sample(shard, f"{key}.{image.ending}", image, label))
            except _SampleError as error:
                problems.append(f"  {key}: {error}")
    if problems:
        more = [f"  ... and {len(problems) - _LISTED:,} more"] if len(problems) > _LISTED else []
        raise UserError("\n".join([f"{shard}:", *problems[:_LISTED], *more]))
    return samples


@contextmanager
def _open_tar(shard: str) -> Iterator[tarfile.TarFile]:
    """An uncompressed tar file; its damage as a UserError that names it."""
    try:
        with open(shard, "rb") as file:
            if file.read(4).startswith(_COMPRESSED):
                raise UserError(f"{shard}: a compressed archive cannot be read at random; unpack it to a plain .tar.")
        with tarfile.open(shard, "r:") as tar:
            yield tar
    except (tarfile.TarError, ValueError, OverflowError) as error:  # tarfile lets some of int()'s errors through
        raise UserError(f"{shard}: not a tar file, or damaged ({error}).") from None
    except OSError as error:
        raise UserError(f"{shard}: cannot be read ({error.strerror or error}).") from None


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, Member]]:
    """Key and member of every regular file that is not hidden."""
    for member in tar:
        folder, name = os.path.split(os.path.normpath(member.name))
        stem, dot, ending = name.partition(".")
        if member.isreg() and stem and dot and not stem.startswith("__"):
            yield os.path.join(folder, stem), Member(ending.lower(), member.offset_data, member.size)


def _image(members: dict[str, Member], dataset: Dataset) -> Member | None:
    """The member that is the image: the one asked for, else the only one by its ending."""
    if dataset.image_column is not None:
        return members.get(dataset.image_column.lower())
    kinds = (is_image, is_array) if dataset.channels is not None else (is_image,)
    images = [member for member in members.values() if any(kind(f"x.{member.ending}") for kind in kinds)]
    if len(images) > 1:
        endings = ", ".join(member.ending for member in images)
        raise _SampleError(f"several images ({endings}); choose one with dataset.image_column")
    return images[0] if images else None


def _label(tar: tarfile.TarFile, members: dict[str, Member], wanted: str | None) -> str:
    """The class name of a sample."""
    ending = (wanted or "cls").lower()
    if ending in members:
        value: Any = _text(tar, members[ending])
    elif "json" in members:
        value = _field(_text(tar, members["json"]), wanted or "label")
    else:
        raise _SampleError(f"no label: neither .{ending} nor .json (it has {', '.join(members)})")
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise _SampleError(f"label {str(value)[:40]!r}: a name or a whole number is expected")
    return str(value).strip()


def _text(tar: tarfile.TarFile, member: Member) -> str:
    """The content of a small member."""
    assert tar.fileobj is not None
    tar.fileobj.seek(member.offset)
    try:
        return tar.fileobj.read(member.size).decode("utf-8")
    except UnicodeDecodeError:
        raise _SampleError(f".{member.ending} is not UTF-8 text") from None


def _field(text: str, name: str) -> Any:
    """A field of a JSON object."""
    try:
        record = parsed_json(text)
    except ValueError as error:
        raise _SampleError(f".json is damaged ({error})") from None
    if not isinstance(record, dict) or name not in record:
        fields = f" (it has {few([*record])})" if isinstance(record, dict) else ""
        raise _SampleError(f".json has no field {name!r}{fields}; set dataset.label_column")
    return record[name]
