"""Calibration changes how sure a model is and nothing else, and leaves heads alone that it cannot scale."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import TINY, Ended, summary, with_classes
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import calibration
from transfer_cli.runs.calibration import calibrate

Command = Callable[..., Ended]
RUN = Path("outputs/runs/run")
QUIET = Reporter(quiet=True)


@pytest.mark.parametrize(
    "words", [["strategy=finetune"], ["strategy=extract", "augment=none", "strategy.solver=lbfgs"]]
)
def test_a_linear_head_is_divided_by_the_temperature(command: Command, words: list[str]) -> None:
    assert command(*TINY, "name=run", "dataset.samples=200", *words).code == 0
    turned = shutil.copytree(RUN, RUN.with_name("turned"))
    turn_classes(turned)
    found = calibrate(RUN, QUIET, Stop())
    assert found is not None and found.after <= found.before
    again = calibrate(RUN, QUIET, Stop())
    assert again is not None and not again.changed
    assert again.before == pytest.approx(found.after, abs=1e-3)
    assert again.temperature == pytest.approx(found.temperature), "that of the head as it was trained"
    by_name = calibrate(turned, QUIET, Stop())
    assert by_name is not None and by_name.temperature == pytest.approx(found.temperature, rel=1e-3)


def turn_classes(run: Path) -> None:
    """The same model, its classes in reverse order."""
    tensors = load_file(run / "model.safetensors")
    heads = {name: np.ascontiguousarray(tensors[name][::-1]) for name in ("fc.weight", "fc.bias")}
    save_file({**tensors, **heads}, run / "model.safetensors")
    with_classes(run, "class_2", "class_1", "class_0")


def test_the_device_is_that_of_the_command(command: Command) -> None:
    assert command(*TINY, "name=run", "dataset.samples=200", "trainer.epochs=1").code == 0
    config = (RUN / "config.yaml").read_text()
    assert config.count("  device: cpu") == 1
    # As if it had been trained on another machine.
    (RUN / "config.yaml").write_text(config.replace("  device: cpu", "  device: no_such_device"))
    ended = command("mode=calibrate", f"run={RUN}", "trainer.device=cpu", "cache_dir=here", "seed=3")
    assert ended.code == 0, ended.err
    assert "warning: seed=3: has no effect" in ended.out


@pytest.mark.parametrize("head", ["mlp", "cosine"])
def test_another_head_is_left_as_it_is(command: Command, head: str) -> None:
    words = ["strategy=extract", "augment=none", f"strategy.head={head}"]
    if head == "cosine":
        words = ["strategy=extract", "augment=none", "strategy.solver=ncm"]
    assert command(*TINY, "name=run", *words).code == 0
    before = (RUN / "model.safetensors").read_bytes()
    assert calibrate(RUN, QUIET, Stop()) is None
    assert (RUN / "model.safetensors").read_bytes() == before


def test_killed_between_weights_and_description_the_head_is_divided_once(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*TINY, "name=run", "dataset.samples=200").code == 0
    tensors = load_file(RUN / "model.safetensors")
    sure = {name: 40 * tensors[name] for name in ("fc.weight", "fc.bias")}
    save_file({**tensors, **sure}, RUN / "model.safetensors")
    whole = shutil.copytree(RUN, RUN.with_name("whole"))
    assert calibrate(whole, QUIET, Stop()) is not None

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(calibration, "_describe", killed)
        with pytest.raises(SystemExit):
            calibrate(RUN, QUIET, Stop())
    assert "temperature" not in json.loads((RUN / "model.json").read_text())
    ended = command("mode=calibrate", f"run={RUN}")
    assert ended.code == 0 and "nothing was changed" in ended.out
    for file in ("model.safetensors", "model.json"):
        assert (RUN / file).read_bytes() == (whole / file).read_bytes()
    assert summary(RUN)["calibration"]["temperature"] == json.loads((RUN / "model.json").read_text())["temperature"]


def test_a_run_that_trains_longer_says_that_its_temperature_goes(command: Command) -> None:
    words = [*TINY, "name=run", "resume=auto", "dataset.samples=200"]
    assert command(*words).code == 0
    assert command("mode=calibrate", f"run={RUN}").code == 0
    assert "temperature" in json.loads((RUN / "model.json").read_text())
    ended = command(*words, "trainer.epochs=3")
    assert ended.code == 0 and f"is not: transfer-run mode=calibrate run={RUN}" in ended.out
    assert "temperature" not in json.loads((RUN / "model.json").read_text())
    assert "calibration" not in summary(RUN)
