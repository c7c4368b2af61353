"""An entry that several processes fill together: of its large file each makes some stripes, none makes one twice.

A stripe belongs to whoever holds its lock, which the system takes back from a process that was killed. One process at a
time joins stripes in their order; it writes its own there at once, the others theirs beside it. What is done stays when
all of them are stopped, and whoever wants the entry next goes on from there.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer_cli.cache.entry import UNFINISHED, Key, describe
from transfer_cli.cache.joint import Joint, feed, noted
from transfer_cli.cache.sharing import lock, make_folder, share, taken_at_once
from transfer_cli.cache.sums import read
from transfer_cli.files import atomic_write_text, fsync_directory, parsed_json

STRIPES = "-stripes-"
"""In the name of a folder with what is done of an entry."""
_WHOLE, _FACTS, _JOURNAL = "whole", "facts.json", "joined"
_STRIPE = re.compile(r"stripe-(\d+)-([0-9a-f]{8})")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Striped:
    """How the large file of an entry is made; a stripe is the same bytes whoever makes it."""

    file: str
    """Its name."""
    count: int
    """Stripes."""
    form: str
    """Changes with how the file is cut into stripes, so that none are joined that do not fit each other."""
    make: Callable[[int], Iterable[bytes]]
    """The bytes of a stripe, block by block."""
    facts: Callable[[], dict[str, Any]]
    """What `finish` needs to know, once a stripe has been made: the same, whichever it was."""
    finish: Callable[[Path, dict[str, Any]], None]
    """Writes the entry's other files."""
    others_did: Callable[[int], None]
    """Told of each stripe that this process finds made."""
    wait: Callable[[], None]
    """Called again and again while others make what is left. May raise."""


@dataclass
class Filling:
    """This process's part in filling the entry at `path`, of the cache at `root`."""

    root: Path
    path: Path
    striped: Striped
    _joint: Joint | None = field(default=None, init=False)
    _own: set[int] = field(default_factory=set, init=False)
    _told: set[int] = field(default_factory=set, init=False)

    @property
    def folder(self) -> Path:
        """What is done so far."""
        return self.path.with_name(f"{UNFINISHED}{self.path.name}{STRIPES}{self.striped.form}")

    def run(self, key: Key, is_there: Callable[[], bool]) -> None:
        """Return once the entry is there, made by this process or others. Raises what making a stripe raises."""
        with self._cleaning_up(), ExitStack() as held:
            while not is_there():
                try:
                    if self._go_on(key, is_there, held):
                        return
                except FileNotFoundError:
                    # Whoever finishes the entry takes the folder away, in the middle of what others do there.
                    if not is_there():
                        raise

    def _go_on(self, key: Key, is_there: Callable[[], bool], held: ExitStack) -> bool:
        """Join, make a stripe, or wait for others; whether this has finished the entry."""
        make_folder(self.root, self.path.parent)
        make_folder(self.root, self.folder)
        self._become_joiner(held)
        if self._joint is not None and self._joined_all(self._joint):
            self._finish(self._joint, key)
            return True
        if not self._make_one(is_there):
            self.striped.wait()
        return False

    def _become_joiner(self, held: ExitStack) -> None:
        if self._joint is None:
            entry = lock(self.root, f"{self.path.parent.name}-{self.path.name}")
            if taken_at_once(entry):
                held.callback(entry.release)
                whole = self.folder / _WHOLE
                make_folder(self.root, whole)
                self._joint = Joint(whole / self.striped.file, self.folder / _JOURNAL)
                for file in (whole / self.striped.file, self.folder / _JOURNAL):
                    share(self.root, file)

    def _joined_all(self, joint: Joint) -> bool:
        """Join the stripes whose turn it is; whether none is missing."""
        while joint.count < self.striped.count and (file := self._stripes().get(joint.count)) is not None:
            with file.open("rb") as opened:
                joint.append(read(opened), _crc32_of(file))
            # Joined, or damaged.
            file.unlink()
        return joint.count == self.striped.count

    def _make_one(self, is_there: Callable[[], bool]) -> bool:
        """Make the first stripe that nobody has made or is making; whether there was one."""
        done = self._done()
        self._tell(done)
        for number in range(self.striped.count):
            if number in done:
                continue
            claim = lock(self.root, str(number), self.folder)
            if not taken_at_once(claim):
                continue
            try:
                # Whoever had it may have finished meanwhile, and all the others too.
                if number not in self._done() and not is_there():
                    self._make(number)
            finally:
                claim.release()
            return True
        return False

    def _make(self, number: int) -> None:
        self._own.add(number)
        if self._joint is not None and self._joint.count == number:
            self._joint.append(self._blocks(number))
        else:
            self._write(number)

    def _blocks(self, number: int) -> Iterator[bytes]:
        yield from self.striped.make(number)
        facts = self.folder / _FACTS
        if not facts.exists():
            atomic_write_text(facts, json.dumps(self.striped.facts()))

    def _write(self, number: int) -> None:
        """A file beside the others, whose name says what it must hold."""
        part, crc32 = self.folder / f"part-{number}", 0
        try:
            with part.open("wb") as file:

                def take(block: bytes) -> None:
                    nonlocal crc32
                    file.write(block)
                    crc32 = zlib.crc32(block, crc32)

                feed(self._blocks(number), take)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.folder / f"stripe-{number}-{crc32:08x}")
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _stripes(self) -> dict[int, Path]:
        """Those that are made, and not joined yet."""
        found = {}
        with suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if match := _STRIPE.fullmatch(path.name):
                    found[int(match[1])] = path
        return found

    def _done(self) -> set[int]:
        # In this order: what is joined meanwhile is found twice rather than not at all.
        made = set(self._stripes())
        return made | set(range(len(noted(self.folder / _JOURNAL))))

    def _tell(self, done: set[int]) -> None:
        for number in done - self._own - self._told:
            self._told.add(number)
            self.striped.others_did(number)

    def _finish(self, joint: Joint, key: Key) -> None:
        whole = self.folder / _WHOLE
        self.striped.finish(whole, parsed_json((self.folder / _FACTS).read_text(encoding="utf-8")))
        describe(whole, key, {self.striped.file: (joint.sums.sha256, joint.sums.crc32)})
        shutil.rmtree(self.path, ignore_errors=True)  # what is there is not whole
        whole.rename(self.path)
        fsync_directory(self.path.parent)

    @contextmanager
    def _cleaning_up(self) -> Iterator[None]:
        """What is done so far goes once the entry is there, and where the disk has no room for the rest."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        shutil.rmtree(self.folder, ignore_errors=True)


def _crc32_of(stripe: Path) -> int:
    match = _STRIPE.fullmatch(stripe.name)
    assert match is not None
    return int(match[2], 16)
