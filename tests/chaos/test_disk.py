"""Disks that are full or read-only: no traceback, no torn file, the last good state kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from tests.chaos.campaign.forks import Forks
from tests.chaos.campaign.kills import Commands, failed_at
from tests.chaos.test_first_pass import make_photos
from tests.conftest import TINY, Ended, start, summary
from transfer_cli.engine import state_files
from transfer_cli.files import file_sha256
from transfer_cli.models import tensors

Command = Callable[..., Ended]


def test_a_full_disk_while_running_keeps_the_last_state(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = tensors.save_file, []

    def filling(contents: object, path: Path, *more: object) -> None:
        calls.append(path)
        if len(calls) > 3:  # two files a state: the second state does not fit
            # What safetensors raises then; it is no OSError.
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        real(contents, path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(tensors, "save_file", filling)
    ended = command(*TINY, "name=full")
    assert ended.code == 3
    assert "No space left" in ended.err
    assert "Traceback" not in ended.err
    run = Path("outputs/runs/full")
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["state-000001"]
    assert state_files.damage(run / "checkpoints" / "state-000001") is None
    assert summary(run)["status"] == "failed"
    monkeypatch.setattr(tensors, "save_file", real)
    assert command(*TINY, "name=full", "resume=auto").code == 0
    assert command(*TINY, "name=whole").code == 0
    assert (run / "model.safetensors").read_bytes() == Path("outputs/runs/whole/model.safetensors").read_bytes()


def test_outputs_that_are_a_file_are_refused_before_anything(command: Callable[..., Ended]) -> None:
    Path("outputs").write_text("mine")
    ended = command(*TINY)
    assert ended.code == 2
    assert "output_dir" in ended.err
    assert Path("outputs").read_text() == "mine"


def _limited(bytes_of_a_file: int) -> Callable[[], None]:
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_of_a_file, bytes_of_a_file))


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        pytest.param(1_000_000, [], marks=pytest.mark.slow),
        pytest.param(1000, [], marks=pytest.mark.slow),
        (20_000, []),
        pytest.param(1_600_000, [], marks=pytest.mark.slow),
        pytest.param(1000, ["strategy=extract", "augment=none"], marks=pytest.mark.slow),
        pytest.param(20_000, ["strategy=extract", "augment=none"], marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_takes_no_more_of_a_file(command: Command, limit: int, words: list[str]) -> None:
    """The system's own refusal, wherever it comes: weights, states, pixels, features, logs."""
    given = [*TINY, *words, "tune=off", "resume=auto"]
    threads = str(torch.get_num_threads())  # as many as go on with it: sums over images depend on them
    process = start(*given, "name=full", preexec_fn=_limited(limit), OMP_NUM_THREADS=threads)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err and "File too large" in err
    left = [*Path("outputs").rglob("*.writing*"), *Path("cache").rglob(".filling*")]
    assert not left
    for name in ("full", "whole"):
        ended = command(*given, f"name={name}")
        assert ended.code == 0, ended.err
    for file in ("model.safetensors", "metrics.jsonl", "predictions.csv"):
        assert Path("outputs/runs/full", file).read_bytes() == Path("outputs/runs/whole", file).read_bytes()


RESULTS = ("model.safetensors", "metrics.jsonl", "predictions.csv")
SIZES = 12
POINTS = 8


@pytest.fixture
def disk() -> Iterator[Callable[[str, int], None]]:
    """`disk(name, size)`: a folder that is a disk of so many bytes, or a disk that has another size now."""
    mounted: set[str] = set()

    def sized(name: str, size: int) -> None:
        Path(name).mkdir(exist_ok=True)
        how = ["-o", f"remount,size={size}"] if name in mounted else ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
        done = subprocess.run(["mount", *how, name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {done.stderr}")
        mounted.add(name)

    yield sized
    for name in mounted:
        subprocess.run(["umount", "--lazy", name], check=True)


def used(name: str) -> int:
    """Bytes that are taken on the disk of a folder."""
    found = os.statvfs(name)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def sizes_up_to(most: int) -> list[int]:
    """From a page to nearly enough, each larger by the same factor."""
    return [int(4096 * (0.9 * most / 4096) ** (step / (SIZES - 1))) for step in range(SIZES)]


def half_written() -> list[Path]:
    hidden = [path for folder in ("outputs", "cache") for path in Path(folder).rglob(".*")]
    return [path for path in hidden if path.name.endswith(".writing") or path.name.startswith((".writing", ".filling"))]


def hashes(state: Path) -> dict[str, str]:
    return {file.name: file_sha256(file) for file in state.iterdir()}


def same_results(one: Path, other: Path) -> bool:
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in RESULTS)


@pytest.mark.slow
def test_outputs_on_a_disk_of_twelve_sizes(
    command: Callable[..., Ended], disk: Callable[[str, int], None], stop_at: Callable[[int | None], None]
) -> None:
    """It goes on from a state, which stays as it was; what cannot be written is gone; with room it ends as it would."""
    words = [*TINY, "tune=off", "trainer.keep=100", "name=run", "resume=auto"]
    disk("outputs", 10**9)
    assert command(*words, "output_dir=whole").code == 0
    need, codes = sum(path.stat().st_size for path in Path("whole").rglob("*") if path.is_file()), []
    for size in sizes_up_to(need):
        disk("outputs", 10**9)
        shutil.rmtree("outputs/runs", ignore_errors=True)
        stop_at(6)
        assert command(*words).code == 75
        stop_at(None)
        states = {state: hashes(state) for state in Path("outputs/runs/run/checkpoints").glob("state-*")}
        assert states
        disk("outputs", used("outputs") + size)
        ended = command(*words)
        codes.append(ended.code)
        assert ended.code in (0, 2, 3) and "Traceback" not in ended.err, (size, ended.err)
        assert not ended.code or "outputs" in ended.err or "No space left" in ended.err, ended.err
        assert {state: hashes(state) for state in states} == states
        assert not half_written(), size
        disk("outputs", 10**9)
        assert command(*words).code == 0
        assert same_results(Path("outputs/runs/run"), Path("whole/runs/run")), size
    print(f"\noutputs: exit codes by size {codes}")
    assert codes.count(0) <= 3


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "code"), [("extract", 3), ("finetune", 0)])
def test_a_cache_on_a_disk_of_twelve_sizes(
    command: Callable[..., Ended], disk: Callable[[str, int], None], strategy: str, code: int
) -> None:
    """Features have nowhere else to go; a prefix without room is computed in each epoch, with the same results."""
    make_photos(20, (60, 50))
    own = ["augment=none"] if strategy == "extract" else ["strategy.unfreeze=1", "augment.views=2"]
    small = [word for word in TINY if not word.startswith(("dataset", "augment"))]
    words = [
        *small,
        f"strategy={strategy}",
        *own,
        "dataset=folder",
        "dataset.path=photos",
        "tune=off",
    ]
    assert command(*words, "name=run", "output_dir=whole", "cache_dir=all").code == 0
    need, codes = sum(path.stat().st_size for path in Path("all").rglob("*") if path.is_file()), []
    for number, size in enumerate(sizes_up_to(need)):
        disk("cache", 10**9)
        for path in Path("cache").iterdir():
            shutil.rmtree(path)
        disk("cache", size)
        again = [*words, f"name=run{number}", "resume=auto", "cache_dir=cache"]
        ended = command(*again)
        codes.append(ended.code)
        assert ended.code in (0, 2, 3) and "Traceback" not in ended.err, (size, ended.err)
        assert not ended.code or "cache" in ended.err, ended.err
        assert not half_written(), size
        disk("cache", 10**9)
        assert command(*again).code == 0
        assert same_results(Path(f"outputs/runs/run{number}"), Path("whole/runs/run")), size
    print(f"\ncache: exit codes by size {codes}")
    assert {*codes} == {code}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    found = Forks(1)
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.parametrize(("call", "error"), [("fsync", "EIO"), ("write", "ENOSPC"), ("write", "EIO")])
def test_a_call_that_fails_at_eight_points(forks: Forks, tmp_path: Path, call: str, error: str) -> None:
    """The system's refusal from outside (strace), as a run makes its n-th such call."""
    words = [*TINY, "tune=off", "name=run", "resume=auto", "quiet=true", "trainer.keep=100"]
    whole, codes = tmp_path / "sound", []
    whole.mkdir()
    count = Commands(forks).whole(whole, words).calls[call]
    for point in range(POINTS):
        folder = tmp_path / f"{call}-{point}"
        folder.mkdir()
        number = 1 + point * (count - 1) // (POINTS - 1)
        ended = failed_at(forks, folder, words, call, error, number)
        codes.append(ended.code)
        assert ended.code in (0, 2, 3) and "Traceback" not in ended.output, (number, ended.output)
        states = {state: hashes(state) for state in folder.glob("outputs/runs/run/checkpoints/state-*")}
        assert all(state_files.damage(state) is None for state in states)
        assert not [path for path in folder.rglob(".*") if path.name.startswith((".writing", ".filling"))]
        assert not list(folder.rglob("*.writing"))
        Commands(forks).whole(folder, words)
        assert same_results(folder / "outputs/runs/run", whole / "outputs/runs/run"), number
    print(f"\n{call}: exit codes {codes}")
    assert codes.count(3) >= POINTS // 2
