"""The jobs of a sweep: each has the name of what it alone says, and of all that determines its result."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from transfer_cli.command.grid import Composed
from transfer_cli.config.parse import config_hash, is_in_hash, parse
from transfer_cli.config.schema import Experiment

OF_THE_SWEEP = ("name", "output_dir", "resume", "quiet", "sweep", "mode")
"""Keys that belong to all jobs together, and say nothing of one."""
_LONGEST = 48
_HASH_DIGITS = 8


@dataclass(frozen=True)
class Job:
    """One job: the words that were said, and the whole configuration."""

    identity: str
    """Digits that all of it with the same result have."""
    name: str
    """Of its directory."""
    words: tuple[str, ...]
    experiment: Experiment

    @property
    def said(self) -> frozenset[str]:
        """Its words, as `said_of`."""
        return said_of(self.words)


def of_one(words: Iterable[str]) -> list[str]:
    """The words of a job without those of the whole sweep, which the next command says otherwise."""
    return [word for word in words if _key(word).partition(".")[0] not in OF_THE_SWEEP]


def said_of(words: Iterable[str]) -> frozenset[str]:
    """The words of a job, in whatever order, without those of the whole sweep."""
    return frozenset(of_one(words))


def jobs_of(several: Iterable[Composed]) -> list[Job]:
    """The jobs of a command, each once. Raises UserError for a configuration that is wrong."""
    found: dict[str, Job] = {}
    for one in several:
        experiment = parse(one.values)
        identity = _identity(one.own, experiment)
        found.setdefault(identity, Job(identity, f"{_readable(one.own)}_{identity}", one.words, experiment))
    return list(found.values())


def _identity(own: tuple[str, ...], e: Experiment) -> str:
    """Does not depend on the order of words, on values that another word makes the same, or on how many jobs there are.

    What changes no result and is swept nevertheless (`trainer.workers=0,4`) is part of it.
    """
    outside = sorted(word for word in own if not is_in_hash(_key(word)))
    return hashlib.sha256("\n".join([config_hash(e), *outside]).encode()).hexdigest()[:_HASH_DIGITS]


def _readable(own: tuple[str, ...]) -> str:
    """Such as `lr-0.001_seed-0`: no character that a shell or Hydra gives a meaning."""
    # 1e+30 with a dash for its plus would be a small number.
    text = "_".join(f"{_last(_key(word))}-{word.partition('=')[2].replace('e+', 'e')}" for word in own)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:_LONGEST].strip("-._")
    return plain or "job"


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _last(key: str) -> str:
    return re.split(r"[./@]", key)[-1]
