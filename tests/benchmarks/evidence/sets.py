"""The sets of images, each written once as a plain folder, train/val/test by class, that every tool reads alike.

    python -m tests.benchmarks.evidence.sets <folder> [<set> ...]       writes them, and nothing else

Splits come by a seeded draw, class by class and the same everywhere, where a set has none of its own.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.evidence import drawings, held_back
from tests.benchmarks.evidence.samples import Sample
from transfer_cli.errors import EXIT_USER, UserError, unknown
from transfer_cli.files import write_json

SPLITS = ("train", "val", "test")
_SHARES = {"val": 0.15, "test": 0.25}
MOST = {"train": 5000, "val": 1000, "test": 2000}
"""Images of a split; the rest of a larger set is left out, class by class."""
_LONGEST_PIXELS = 512


@dataclass(frozen=True)
class Source:
    """Where the images of a set come from."""

    load: Callable[[], list[Sample]]
    held_back: bool = False
    """Looked at once, at the end: no default is chosen by it."""


OFFLINE: dict[str, Source] = {
    "digits": Source(drawings.digits),
    "mnist5k": Source(drawings.mnist5k),
    "fashion": Source(drawings.fashion),
    "stamps": Source(drawings.stamps),
    "materials": Source(held_back.materials, held_back=True),
    "instruments": Source(held_back.instruments, held_back=True),
}
"""Sets that need packages, and no network."""


def source_of(name: str, path: str = "data", download: bool = False) -> Source:
    """The set of that name: one of ours, one of torchvision's below `path`, or the folder that a name with a / is.

    Raises UserError with the nearest names for others.
    """
    from transfer_cli.data.sources.torchvision_sets import SETS

    if name in OFFLINE:
        return OFFLINE[name]
    if "/" in name:
        return Source(partial(_listed, "folder", name, False))
    if name in SETS:
        return Source(partial(_listed, name, path, download))
    raise unknown("evidence.sets", name, [*OFFLINE, *SETS])


def title(name: str) -> str:
    """What a set is called in results; of a folder the last part."""
    return Path(name).name


def prepare(name: str, folder: Path, path: str = "data", download: bool = False) -> Path:
    """The folder of a set below `folder`, written if it is not there yet.

    Raises UserError where a package or a file is missing.
    """
    source, to = source_of(name, path, download), folder / title(name)
    if (to / "set.json").is_file():
        return to
    chosen = choose(source.load(), title(name))
    shutil.rmtree(to, ignore_errors=True)
    for split, samples in chosen.items():
        for number, sample in enumerate(samples):
            file = to / split / sample.label / f"{number:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = sample.read()
            image.thumbnail((_LONGEST_PIXELS, _LONGEST_PIXELS))
            image.save(file)
    counts = {split: len(samples) for split, samples in chosen.items()}
    write_json(to / "set.json", {"set": name, "held_back": source.held_back, "images": counts})
    return to


def choose(samples: list[Sample], name: str) -> dict[str, list[Sample]]:
    """Samples of each split, at most `MOST`: the set's own splits, and cuts of its train for those it lacks.

    Raises UserError where a class is too small to be in all three.
    """
    found: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    own = {sample.split for sample in samples if sample.split}
    for label, members in _by_label(samples).items():
        for split, chosen in _split(members, own, random.Random(f"{name}/{label}")).items():
            if not chosen:
                raise UserError(f"evidence.sets: {name}: too few images of class {label} for a {split} split.")
            found[split] += chosen
    return {split: thin(chosen, MOST[split], f"{name}/{split}") for split, chosen in found.items()}


def _split(members: list[Sample], own: set[str], draw: random.Random) -> dict[str, list[Sample]]:
    """One class by split; groups stay together."""
    parts = {split: [sample for sample in members if (sample.split or "train") == split] for split in SPLITS}
    groups: dict[str, list[Sample]] = {}
    for sample in parts["train"]:
        groups.setdefault(sample.group, []).append(sample)
    order = sorted(groups)
    draw.shuffle(order)
    for split, share in _SHARES.items():
        if split in own:
            continue
        wanted = max(1, round(share * len(parts["train"])))
        while len(parts[split]) < wanted and len(order) > 1:
            parts[split] += groups[order.pop()]
    parts["train"] = [sample for group in order for sample in groups[group]]
    return parts


def thin(samples: list[Sample], most: int, seed: str) -> list[Sample]:
    """At most so many, each class by its share, drawn by `seed`."""
    groups = _by_label(samples)
    kept = quotas({label: len(members) for label, members in groups.items()}, most)
    chosen = []
    for label, members in groups.items():
        chosen += random.Random(f"{seed}/{label}").sample(members, kept[label])
    return chosen


def quotas(counts: dict[str, int], most: int) -> dict[str, int]:
    """How many of each class to keep of `counts`, together `most` or all: by share, and never none."""
    total = sum(counts.values())
    if total <= most:
        return dict(counts)
    exact = {label: count * most / total for label, count in counts.items()}
    kept = {label: max(1, int(share)) for label, share in exact.items()}
    for label in sorted(exact, key=lambda one: (int(exact[one]) - exact[one], one)):
        if sum(kept.values()) < most:
            kept[label] += 1
    return kept


def _by_label(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.label, []).append(sample)
    return dict(sorted(groups.items()))


def _listed(name: str, path: str, download: bool) -> list[Sample]:
    """Samples of a set as `dataset=<name> dataset.path=<path>` reads them."""
    from transfer_cli.command.compose import compose, to_plain
    from transfer_cli.command.overrides import parse_overrides
    from transfer_cli.command.source import ConfigSource, conf_dir
    from transfer_cli.config.parse import parse
    from transfer_cli.data.sources.load import source_of as reader_of

    words = [f"dataset={name}", f"dataset.path={path}", *(["dataset.download=true"] if download else [])]
    dataset = parse(to_plain(compose(ConfigSource(conf_dir(), "config", None), parse_overrides(words)))).dataset
    try:
        listing = reader_of(name).load(dataset)
    except UserError as error:
        # It speaks of the keys of transfer-run; here they have other names.
        said = str(error).replace("dataset.path", "evidence.path").replace("dataset.download", "evidence.download")
        raise UserError(f"evidence.sets: {name}: {said}") from error
    split_of = {int(index): split for split, indices in listing.splits.items() for index in indices}
    return [
        Sample(_file_name(listing.classes[label]), str(index), partial(listing.read, index), split_of[index])
        for index, label in enumerate(listing.labels.tolist())
        if index in split_of
    ]


def _file_name(label: str) -> str:
    return label.replace("/", "_")


def main() -> None:
    """Write the sets of the command line, or all that need no network."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(OFFLINE)
    for name in names:
        try:
            counts = json.loads((prepare(name, folder) / "set.json").read_text())["images"]
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(EXIT_USER)
        print(name, *(f"{count} {split}" for split, count in counts.items()), flush=True)


if __name__ == "__main__":
    main()
