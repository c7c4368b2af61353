"""The first pass over the images, killed, signalled, doubled and starved of room: never half an entry."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended, start, summary
from transfer_cli.runs import loop_job as looped

FOLDER = [*[word for word in TINY if "dataset" not in word], "dataset=folder", "dataset.path=photos"]
SMALL = [*FOLDER, "trainer.epochs=1"]


def make_photos(count: int, size: tuple[int, int]) -> None:
    """Two classes of `count` photos. PNG: large ones take long to decode."""
    random = np.random.default_rng(0)
    for name in ("dark", "light"):
        Path("photos", name).mkdir(parents=True)
        for number in range(count):
            small = random.integers(0, 128, (8, 8, 3)) + (100 if name == "light" else 0)
            Image.fromarray(small.astype(np.uint8)).resize(size).save(f"photos/{name}/{number}.png")


def entries() -> list[Path]:
    return [path for path in Path("cache/pixels").glob("*") if not path.name.startswith(".")]


def wait_for_first_rows(process: object) -> None:
    """Until an entry is being filled."""
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size for file in Path("cache/pixels").glob(".filling-*/pixels.bin")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()  # type: ignore[attr-defined]
        time.sleep(0.002)


def stopped_in_the_middle(stop: signal.Signals) -> None:
    """A run that `stop` ends in its first pass: with the right exit code, no run directory, and no entry."""
    make_photos(30, (900, 700))
    process = start(*SMALL, "name=one", OMP_NUM_THREADS="1")
    wait_for_first_rows(process)
    os.kill(process.pid, stop)
    _, err = process.communicate(timeout=60)
    expected = {signal.SIGKILL: -9, signal.SIGTERM: 75, signal.SIGINT: 130}
    assert process.returncode == expected[stop], err
    assert "Traceback" not in err
    assert not Path("outputs/runs/one").exists()
    assert not entries()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_leaves_nothing(stop: signal.Signals) -> None:
    stopped_in_the_middle(stop)
    assert not list(Path("cache/pixels").glob(".filling-*"))


def test_killed_in_the_middle_and_started_again(command: Callable[..., Ended]) -> None:
    stopped_in_the_middle(signal.SIGKILL)
    assert len(list(Path("cache/pixels").glob(".filling-*"))) == 1
    again = command(*SMALL, "name=one")
    assert again.code == 0, again.err
    assert summary("outputs/runs/one")["images_decoded"] == 60
    assert len(entries()) == 2
    assert not list(Path("cache/pixels").glob(".filling-*"))


@pytest.mark.slow
def test_two_processes_fill_together_and_decode_nothing_twice() -> None:
    make_photos(20, (900, 700))
    both = [start(*SMALL, f"name={name}", OMP_NUM_THREADS="1") for name in ("one", "two")]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    runs = [Path("outputs/runs", name) for name in ("one", "two")]
    assert sum(summary(run)["images_decoded"] for run in runs) == 40
    assert len(entries()) == 2
    one, two = ((run / "model.safetensors").read_bytes() for run in runs)
    assert one == two


def test_same_bits_the_second_time_and_from_every_store(command: Callable[..., Ended]) -> None:
    make_photos(20, (60, 50))
    words = [*FOLDER, "augment=standard"]
    for name, where in (("one", "disk"), ("two", "disk"), ("three", "ram"), ("four", "stream"), ("five", "auto")):
        ended = command(*words, f"name={name}", f"dataset.store={where}")
        assert ended.code == 0, ended.err
    runs = [Path("outputs/runs", name) for name in ("one", "two", "three", "four", "five")]
    assert [summary(run)["images_decoded"] for run in runs[:3]] == [40, 0, 0]
    assert summary(runs[1])["cache"]["hits"] > 0
    for file in ("model.safetensors", "metrics.jsonl"):
        assert len({(run / file).read_bytes() for run in runs}) == 1


def test_touching_one_file_decodes_one(command: Callable[..., Ended]) -> None:
    make_photos(20, (60, 50))
    assert command(*SMALL, "name=one").code == 0
    os.utime("photos/dark/3.png")
    assert command(*SMALL, "name=two").code == 0
    assert summary("outputs/runs/two")["images_decoded"] == 1


def test_bad_images_end_the_run_before_it_begins_or_are_left_out_and_recorded(command: Callable[..., Ended]) -> None:
    make_photos(20, (60, 50))
    Path("photos/dark/3.png").write_bytes(b"no picture")
    ended = command(*SMALL, "name=one")
    assert ended.code == 2
    assert "photos/dark/3.png" in ended.err
    assert "Traceback" not in ended.err
    assert not Path("outputs/runs/one").exists()
    ended = command(*SMALL, "name=one", "dataset.on_bad=skip")
    assert ended.code == 0
    assert ended.out.count("warning: 1 image cannot be decoded and left out") == 1
    record = json.loads(Path("outputs/runs/one/dataset.json").read_text())
    assert [skipped["file"] for skipped in record["skipped"]] == ["photos/dark/3.png"]
    assert sum(record["images"].values()) == 39
    assert sum(record["images_of_class"][split]["dark"] for split in ("train", "val", "test")) == 19
    assert Path("photos/dark/3.png").read_bytes() == b"no picture"


def test_going_on_with_edited_images_is_said(command: Callable[..., Ended]) -> None:
    make_photos(20, (60, 50))
    words = [*FOLDER, "name=one", "resume=auto"]
    for edited in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(looped, "load_best", interrupt)
            ended = command(*words)
        assert ended.code == 130
        assert ("but not their content; it goes on" in ended.out) == edited
        Image.new("RGB", (60, 50)).save("photos/dark/3.png")


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_evaluating_decodes_nothing_that_training_decoded(command: Callable[..., Ended]) -> None:
    make_photos(20, (60, 50))
    assert command(*SMALL, "name=one").code == 0
    before = {path: path.stat().st_mtime_ns for path in entries()}
    assert command("mode=evaluate", "run=outputs/runs/one", "trainer.device=cpu").code == 0
    assert {path: path.stat().st_mtime_ns for path in entries()} == before
