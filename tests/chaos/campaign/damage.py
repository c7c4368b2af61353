"""Damage each file that a command finds, as disks, copies and people do: it must be noticed, or change nothing.

    python -m tests.chaos.campaign.damage               `make chaos`: some damages, as many to what each command reads
    python -m tests.chaos.campaign.damage 0 sweep cache every damage to each file of these

Allowed are the bytes of a run on sound files, other bytes after a warning, and an end with exit code 2 or 3 and one
message, all within a minute. Prints what was wrong, and the counts; exit code 1 where anything was.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.campaign.cases import CASES, FILES, FOLDER, MODEL, NAME, ONE_EPOCH, SEARCHED, make_photos
from tests.chaos.campaign.forks import Ended, Forks
from tests.chaos.campaign.kills import Commands, ended_within, environment

DAMAGES = 75
LIMIT_SECONDS = 60
PROCESSES = 2


@dataclass(frozen=True)
class Reading:
    """A command that goes on with files, or uses them."""

    files: tuple[str, ...]
    """Patterns of those that it may read."""
    command: list[str]
    results: tuple[str, ...]
    """What must come out, as patterns."""
    before: tuple[list[str], ...] = ()
    """Commands that make the files; of what they leave, `without` is taken away."""
    without: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    """Results of what is done, that the command has no need to read."""


_RUN = f"outputs/runs/{NAME}"
_RESULTS = tuple(f"{_RUN}/{file}" for file in FILES)
_TRAINED = [*FOLDER, "strategy.unfreeze=1", "augment.views=2", f"name={NAME}", "resume=auto", "trainer.keep=100"]
_PROBE = [*(w for w in FOLDER if "augment" not in w), "strategy=extract", "augment=none", f"name={NAME}", "resume=auto"]
_SWEEP = [*ONE_EPOCH, "-m", "optimizer.lr=1e-3,1e-2", f"name={NAME}", "resume=auto"]
_SEARCH = [*ONE_EPOCH, "-m", "hydra/sweeper=search", SEARCHED, f"name={NAME}", "resume=auto"]
_COMPARE = [*CASES["compare"].command]
_JOBS = tuple(f"outputs/sweeps/{NAME}/*/{file}" for file in FILES)
_LATER = (f"{_RUN}/summary.json", f"{_RUN}/model.safetensors", f"{_RUN}/checkpoints/state-*[3456789]")
READINGS: dict[str, Reading] = {
    "run": Reading((f"{_RUN}/**/*",), _TRAINED, _RESULTS, (_TRAINED,), _LATER),
    "cache": Reading(("cache/**/*",), _TRAINED, _RESULTS, (_TRAINED,), (_RUN,)),
    "features": Reading(("cache/**/*",), _PROBE, _RESULTS, (_PROBE,), (_RUN,)),
    "sweep": Reading(
        (f"outputs/sweeps/{NAME}/*", f"outputs/sweeps/{NAME}/*/*"),
        _SWEEP,
        _JOBS,
        (_SWEEP,),
        (f"outputs/sweeps/{NAME}/*0.01*/summary.json",),
        FILES,
    ),
    "search": Reading(
        (f"outputs/sweeps/{NAME}/*", f"outputs/sweeps/{NAME}/*/*", f"outputs/sweeps/{NAME}/.*/*"),
        [*_SEARCH, "sweep.trials=3"],
        _JOBS,
        ([*_SEARCH, "sweep.trials=2"],),
        spare=FILES,
    ),
    "compare": Reading(
        (f"outputs/compare/{NAME}/*", f"outputs/compare/{NAME}/*/*.json"),
        _COMPARE,
        CASES["compare"].results,
        (_COMPARE,),
        (f"outputs/compare/{NAME}/lora*",),
    ),
    "soup": Reading(
        ("outputs/sweeps/several/*/*.*", f"{_RUN}/soup.json", f"{_RUN}/summary.json"),
        CASES["soup"].command,
        CASES["soup"].results,
        ([*CASES["soup"].before], CASES["soup"].command),
        (f"{_RUN}/summary.json",),
    ),
    "evaluate": Reading(
        ("outputs/runs/model/*.*",),
        ["mode=evaluate", "run=outputs/runs/model"],
        ("outputs/runs/model/evaluation.json",),
        ([*MODEL],),
    ),
    "predict": Reading(
        ("outputs/runs/model/*.*",),
        [*CASES["predict"].command],
        CASES["predict"].results,
        ([*MODEL],),
    ),
    "report": Reading(
        ("outputs/runs/model/*.*", "outputs/runs/soup/*.*"),
        ["mode=report", "run=[outputs/runs/model,outputs/runs/soup]"],
        (),
        ([*MODEL], [*CASES["soup"].before], ["mode=soup", "sweep=outputs/sweeps/several", "name=soup"]),
    ),
    "page": Reading(("outputs/runs/model/*.*",), ["mode=report", "run=outputs/runs/model"], (), ([*MODEL],)),
    "pages": Reading(
        ("outputs/sweeps/several/*", "outputs/sweeps/several/*/*.*"),
        ["mode=report", "sweep=outputs/sweeps/several"],
        (),
        ([*CASES["soup"].before],),
    ),
    "table": Reading(("outputs/runs/*/*.*",), ["mode=report"], (), ([*MODEL],)),
    "list": Reading(("cache/**/*",), ["mode=cache", "cache.action=verify"], (), (_PROBE,)),
}


def _leaves(value: Any, put: Any) -> Any:
    if isinstance(value, dict):
        return {key: _leaves(item, put) for key, item in value.items()}
    return [_leaves(item, put) for item in value] if isinstance(value, list) else put


def _json(change: Callable[[Any], Any]) -> Callable[[Path], bool]:
    """Change what a file of JSON holds, or each of its lines; False where it holds none."""

    def damage(file: Path) -> bool:
        try:
            text = file.read_text(encoding="utf-8")
            lines = text.splitlines() if file.suffix in (".jsonl", ".journal") else [text]
            changed = [json.dumps(change(json.loads(line))) for line in lines]
        except ValueError:
            return False
        file.write_text("\n".join(changed) + "\n", encoding="utf-8")
        return True

    return damage


def _written(content: bytes) -> Callable[[Path], bool]:
    return lambda file: file.write_bytes(content) >= 0


def _cut(file: Path) -> bool:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return bool(content)


def _flipped(file: Path) -> bool:
    content = bytearray(file.read_bytes())
    if content:
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    return bool(content)


def _folder(file: Path) -> bool:
    file.unlink()
    file.mkdir()
    return True


def _gone(file: Path) -> bool:
    file.unlink()
    return True


def _without_each_second_key(value: Any) -> Any:
    return dict([*value.items()][::2]) if isinstance(value, dict) else value


KINDS: dict[str, Callable[[Path], bool]] = {
    "gone": _gone,
    "a folder": _folder,
    "empty": _written(b""),
    "cut": _cut,
    "a flipped byte": _flipped,
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)) > 0,
    "{}": _written(b"{}\n"),
    "[]": _written(b"[]\n"),
    "3": _written(b"3\n"),
    "deep": _written(b"[" * 200_000),
    "huge": lambda file: file.write_bytes(file.read_bytes() + b" 9" * 5_000_000) > 0,
    "text in each place": _json(lambda value: _leaves(value, "x")),
    "null in each place": _json(lambda value: _leaves(value, None)),
    "a large number in each place": _json(lambda value: _leaves(value, 10**40)),
    "a list in each place": _json(lambda value: _leaves(value, [])),
    "half of its keys": _json(_without_each_second_key),
    "another key": _json(lambda value: {"other": value}),
}


@dataclass(frozen=True)
class Prepared:
    """Files that are there, and what comes out of them."""

    reading: Reading
    template: Path
    results: dict[str, bytes]

    def files(self) -> list[Path]:
        """Those to be damaged, from the template."""
        found = {path for pattern in self.reading.files for path in self.template.glob(pattern) if path.is_file()}
        return sorted(path.relative_to(self.template) for path in found if path.name not in self.reading.spare)

    def verdict(self, forks: Forks, file: Path, damage: str) -> tuple[str, str | None]:
        """What came of it, and what is wrong with that."""
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "own")
            shutil.copytree(self.template, folder)
            if not KINDS[damage](folder / file):
                return "no such damage", None
            started = time.monotonic()
            ended = run(forks, folder, self.reading.command)
            seconds = time.monotonic() - started
            return judged(ended, seconds, self.results == found(folder, self.reading.results))


def judged(ended: Ended, seconds: float, equal: bool) -> tuple[str, str | None]:
    """The kind of an end, and what is wrong with it."""
    if seconds >= LIMIT_SECONDS:
        return "too long", f"takes longer than {LIMIT_SECONDS} s"
    if "Traceback" in ended.output or ended.code not in (0, 2, 3):
        return "a bug", f"exit code {ended.code}: {ended.output[-1500:]}"
    warned = "warning: " in ended.output
    if ended.code:
        said = [line for line in ended.output.splitlines() if line.startswith("error: ")]
        # What looks for damage warns of it.
        told = len(said) == 1 or (warned and not said)
        return f"exit code {ended.code}", None if told else f"{len(said)} messages: {ended.output[-1500:]}"
    if equal:
        return "equal, said" if warned else "equal", None
    return "other bytes, said", None if warned else f"other bytes and not a word: {ended.output[-1500:]}"


def run(forks: Forks, folder: Path, words: list[str]) -> Ended:
    """Run a command in a folder to its end."""
    output = folder.parent / "output"
    with forks.started(words, folder, environment(folder), output) as command:
        command.let_go()
        return ended_within(LIMIT_SECONDS, command)


def found(folder: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    """Files by their names."""
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def template_of(reading: Reading) -> str:
    """A name for what must be there before: readings of the same share it."""
    return hashlib.sha256(repr((reading.before, reading.without)).encode()).hexdigest()[:12]


def make_template(reading: Reading, template: Path, forks: Forks) -> None:
    """Make the files of a reading. Raises RuntimeError where that fails."""
    template.mkdir()
    make_photos(template)
    for words in reading.before:
        Commands(forks).whole(template, words)
    for pattern in reading.without:
        for path in [*template.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def prepared(reading: Reading, template: Path, forks: Forks) -> Prepared:
    """Read files as they are. Raises RuntimeError where that fails."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "own")
        shutil.copytree(template, folder)
        Commands(forks).whole(folder, reading.command)
        return Prepared(reading, template, found(folder, reading.results))


def _cases(ready: Prepared, name: str) -> list[tuple[str, Path, str]]:
    """Every damage to every file, in an order of no meaning."""
    every = [(name, file, damage) for file in ready.files() for damage in KINDS]
    random.Random(name).shuffle(every)
    return every


def main(words: list[str]) -> int:
    """Damage files; exit code 0 where each was noticed or changed nothing."""
    started, count = time.monotonic(), int(words[0]) if words else DAMAGES
    names, forks, lock = words[1:] or list(READINGS), Forks(PROCESSES), threading.Lock()
    kinds, problems = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(PROCESSES) as pool:
        where = {name: Path(place, template_of(READINGS[name])) for name in names}
        firsts = {template: READINGS[name] for name, template in where.items()}
        list(pool.map(lambda one: make_template(one[1], one[0], forks), firsts.items()))
        found_sound = pool.map(lambda name: prepared(READINGS[name], where[name], forks), names)
        ready = dict(zip(names, found_sound, strict=True))
        cases = [_cases(ready[name], name) for name in names]
        most = -(-count // len(names)) if count else None
        chosen = [case for of_one in cases for case in of_one[:most]]

        def work(case: tuple[str, Path, str]) -> None:
            name, file, damage = case
            kind, problem = ready[name].verdict(forks, file, damage)
            with lock:
                kinds.update([kind])
                problems.extend([f"{name}: {file}: {damage}: {problem}"] if problem else [])
                if problem:
                    print(f"WRONG {problems[-1]}", flush=True)

        list(pool.map(work, chosen))
    forks.close()
    done = sum(kinds.values()) - kinds.pop("no such damage", 0)
    print(f"{done} damaged files, {time.monotonic() - started:.0f} s: {dict(kinds)}; {len(problems)} wrong")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
