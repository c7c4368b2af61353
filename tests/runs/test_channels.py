"""dataset.channels, as a user runs it: what a fourth band tells is learnt, and what is asked of a run later works."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file

from tests.conftest import TINY, Ended, summary

Command = Callable[..., Ended]
SCRATCH = [*TINY[:3], *TINY[6:], "trainer.epochs=6", "quiet=true", "tune=off"]
FOLDER = ["dataset=folder", "dataset.path=set"]
FOUR = [*FOLDER, "dataset.channels=4"]
IMAGES, SIDE = 24, 32
"""Of a class, and of a side."""


def pictures(label: int) -> list[np.ndarray]:
    """Four bands of noise, the last with stripes across or down: [H, W, 4]."""
    random = np.random.default_rng(label)
    found = random.integers(60, 196, (IMAGES, SIDE, SIDE, 4), dtype=np.uint8)
    stripes = (np.arange(SIDE) // 4 % 2 * 200).astype(np.uint8)
    found[..., 3] = stripes[:, None] if label else stripes[None, :]
    return list(found)


def write(write_one: Callable[[Path, np.ndarray], object], ending: str) -> None:
    for label, name in enumerate(("across", "down")):
        folder = Path("set") / name
        folder.mkdir(parents=True)
        for number, pixels in enumerate(pictures(label)):
            write_one(folder / f"{number:02d}.{ending}", pixels)


def as_tiff(path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"])


@pytest.fixture
def arrays() -> None:
    write(np.save, "npy")


def accuracy(name: str) -> float:
    found = summary(Path("outputs/runs") / name)["test"]["accuracy"]
    assert isinstance(found, float)
    return found


def test_what_the_fourth_band_of_a_tiff_tells_is_learnt_and_rgb_cannot(command: Command) -> None:
    write(as_tiff, "tif")
    four = command(*SCRATCH, *FOUR, "name=four")
    stored = {*Path("cache/pixels").iterdir()}
    rgb = command(*SCRATCH, *FOLDER, "name=rgb")
    assert stored and stored < {*Path("cache/pixels").iterdir()}, "pixels of other channels have entries of their own"
    assert (four.code, rgb.code) == (0, 0), four.err + rgb.err
    assert accuracy("four") == 1.0
    assert accuracy("rgb") < 0.8
    assert "dataset.channels=4 reads all of them" in Path("outputs/runs/rgb/run.log").read_text()


def test_a_run_on_arrays_is_used_as_any_other(command: Command, arrays: None) -> None:
    assert command(*SCRATCH, *FOUR, "name=run").code == 0
    assert accuracy("run") == 1.0
    about = json.loads(Path("outputs/runs/run/model.json").read_text())
    assert about["channels"] == 4 and len(about["preprocessing"]["mean"]) == 4
    assert Path("outputs/runs/run/plots/samples.png").is_file()
    evaluated = command("mode=evaluate", "run=outputs/runs/run")
    assert evaluated.code == 0, evaluated.err
    assert json.loads(Path("outputs/runs/run/evaluation.json").read_text())["accuracy"] == 1.0
    assert command("mode=evaluate", "run=outputs/runs/run", *FOLDER, "split=train").code == 0
    other = command("mode=evaluate", "run=outputs/runs/run", "dataset.channels=3")
    assert other.code == 2 and "the model was trained with dataset.channels=4" in other.err
    predicted = command("mode=predict", "run=outputs/runs/run", "input=set/down", "output=down.csv")
    assert predicted.code == 0, predicted.err
    rows = Path("down.csv").read_text().splitlines()[1:]
    assert len(rows) == IMAGES and sum(",down," in row for row in rows) == IMAGES


def test_weights_of_four_channels_are_exported_for_timm_and_refused_for_torchvision(
    command: Command, arrays: None
) -> None:
    words = [*SCRATCH, *FOUR, "trainer.epochs=1"]
    export = ["mode=export", "format=timm", "export.latency=false"]
    assert command(*words, "name=run").code == 0
    ended = command(*export, "run=outputs/runs/run", "output=.")
    assert ended.code == 2 and "output=.: holds files that are of no export (cache, outputs, set)" in ended.err
    ended = command(*export, "run=outputs/runs/run", "output=weights")
    assert ended.code == 0, ended.err
    assert json.loads(Path("weights/config.json").read_text())["pretrained_cfg"]["input_size"] == [4, SIDE, SIDE]
    others = ["model.name=squeezenet1_1", "model.source=torchvision", "name=other"]
    assert command(*words, *others).code == 0
    ended = command(*export, "run=outputs/runs/other", "output=others")
    assert ended.code == 2
    assert "torchvision builds squeezenet1_1 for RGB alone, and the run has dataset.channels=4" in ended.err
    assert "format=onnx" in ended.err and not Path("others").exists()


@pytest.mark.slow
def test_views_and_stores_change_nothing_but_the_time(command: Command, arrays: None) -> None:
    views = ["augment.rotate=20", "augment.erase=0.5", "augment.mixup=0.2", "trainer.epochs=2"]
    for store in ("disk", "ram", "stream"):
        ended = command(*SCRATCH, *FOUR, *views, f"dataset.store={store}", f"name={store}")
        assert ended.code == 0, ended.err
    tensors = [load_file(f"outputs/runs/{store}/model.safetensors") for store in ("disk", "ram", "stream")]
    assert all(tensors[0][key].equal(other[key]) for key in tensors[0] for other in tensors[1:])


def test_pretrained_weights_of_rgb_start_a_probe_of_one_channel(command: Command) -> None:
    write(lambda path, pixels: np.save(path, pixels[..., 3]), "npy")
    words = [*FOLDER, "dataset.channels=1", "model=efficientnet_lite0", "image_size=64", "experiment=probe"]
    ended = command(*words, "name=probe")
    assert ended.code == 0, ended.err
    assert accuracy("probe") == 1.0
    assert "channels  1: weights of the first convolution are those of RGB added up, mean" in ended.out
    again = command(*words, "name=again")
    assert again.code == 0 and summary("outputs/runs/again")["backbone_images"] == 0


def test_weights_and_teachers_of_other_channels_are_refused(command: Command, arrays: None) -> None:
    assert command(*SCRATCH, *FOUR, "trainer.epochs=1", "name=four").code == 0
    start = "model.weights=outputs/runs/four"
    assert command(*SCRATCH, *FOUR, "trainer.epochs=1", start, "name=on").code == 0
    other = command(*SCRATCH, "dataset=fake", "dataset.num_classes=2", "dataset.samples=60", start)
    assert other.code == 2 and "take images of 4 channels, not 3" in other.err
    teacher = ["strategy=distill", "strategy.teacher.weights=outputs/runs/four", "strategy.teacher.allow_chance=true"]
    assert command(*SCRATCH, *FOUR, "trainer.epochs=1", *teacher, "name=taught").code == 0
    other = command(*SCRATCH, "dataset=fake", "dataset.num_classes=2", "dataset.samples=60", *teacher)
    assert other.code == 2 and "was trained with dataset.channels=4" in other.err


@pytest.mark.slow
def test_shards_and_tables_hold_arrays_too(command: Command, arrays: None) -> None:
    files = sorted(Path("set").rglob("*.npy"))
    lines = [f"{file},{file.parent.name}" for file in files]
    Path("table.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    with tarfile.open("set.tar", "w") as tar:
        for number, file in enumerate(files):
            (label := Path("label")).write_text(file.parent.name)
            tar.add(file, f"{number:03d}.npy")
            tar.add(label, f"{number:03d}.cls")
    for source, path in (("manifest", "table.csv"), ("webdataset", "set.tar")):
        words = [f"dataset={source}", f"dataset.path={path}", "dataset.channels=4"]
        ended = command(*SCRATCH, *words, "trainer.epochs=1", f"name={source}")
        assert ended.code == 0, ended.err


def test_what_makes_no_sense_is_one_message(command: Command, arrays: None) -> None:
    plain = command(*SCRATCH, *FOLDER)
    assert plain.code == 2 and "dataset.channels=<how many it has> reads it" in plain.err
    miscounted = command(*SCRATCH, *FOLDER, "dataset.channels=6")
    assert miscounted.code == 2
    assert f"set/across/00.npy: has the shape {SIDE} x {SIDE} x 4, not 6 channels" in miscounted.err
    colours = command(*SCRATCH, *FOUR, "augment=standard")
    assert colours.code == 2 and "augment.brightness=0 augment.contrast=0 augment.saturation=0" in colours.err
    policy = command(*SCRATCH, *FOUR, "augment=trivial")
    assert policy.code == 2 and "augment.trivialaugment=false" in policy.err
    for count in ("0", "65", "four"):
        assert "dataset.channels" in command(*SCRATCH, *FOLDER, f"dataset.channels={count}").err
    assert not Path("outputs").exists()


def test_other_files_are_left_out_where_that_is_asked(command: Command, arrays: None) -> None:
    np.save("set/across/flat.npy", np.zeros((SIDE, SIDE), np.uint8))
    ended = command(*SCRATCH, *FOUR, "trainer.epochs=1", "dataset.on_bad=skip", "name=skip")
    assert ended.code == 0, ended.err
    skipped = json.loads(Path("outputs/runs/skip/dataset.json").read_text())["skipped"]
    assert [(Path(one["file"]).name, one["reason"]) for one in skipped] == [
        ("flat.npy", "has 1 channel, not 4 channels (dataset.channels=4)")
    ]
