"""States that are written beside the training are those of the moment, and nothing that fails is lost."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import TINY, Ended, summary
from tests.fake_gpu import GPU, fake_gpu, there
from transfer_cli.engine import checkpoints
from transfer_cli.engine.checkpoints import Checkpoints
from transfer_cli.engine.state_files import Part, damage, load, states_in
from transfer_cli.engine.state_writer import arrival, on_host
from transfer_cli.runs import loop_job


class Weights:
    """An owner whose tensors and values change in place as it trains on."""

    def __init__(self, device: str = "cpu") -> None:
        self.tensors = {
            "w": torch.arange(12.0, device=device).view(1, 3, 2, 2).to(memory_format=torch.channels_last),
            "step": torch.zeros((), device=device),
        }
        self.history: list[int] = []

    def train(self) -> None:
        for tensor in self.tensors.values():
            tensor += 1
        self.history.append(len(self.history))

    def state(self) -> Part:
        return Part({"history": self.history}, self.tensors)

    def restore(self, part: Part) -> None:
        raise NotImplementedError


def states_of(folder: Path, weights: Weights, *, beside: bool = True) -> Checkpoints:
    return Checkpoints(folder, {"weights": weights}, "settings", beside=beside)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def save_and_train(folder: Path, weights: Weights, *, beside: bool) -> None:
    states = states_of(folder, weights, beside=beside)
    for _ in range(3):
        states.save(states.next_name(), None)
        weights.train()
    states.finish()


def test_a_state_is_that_of_its_moment_whatever_trains_meanwhile(tmp_path: Path) -> None:
    for beside in (True, False):
        save_and_train(tmp_path / str(beside), Weights(), beside=beside)
    assert files(tmp_path / "True") == files(tmp_path / "False")


class Held:
    """A disk that waits before it writes, and may be full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.full, self._write = threading.Event(), False, checkpoints.write_tensors
        monkeypatch.setattr(checkpoints, "write_tensors", self)

    def __call__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        assert self.go.wait(20)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._write(path, tensors)


def test_a_state_is_there_once_it_is_whole_and_the_next_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, weights = Held(monkeypatch), Weights()
    states = states_of(tmp_path, weights)
    states.save(states.next_name(), None)
    assert states.next_name() == "state-000002" and states_in(tmp_path) == []
    disk.go.set()
    states.save("state-000002", "state-000001")
    assert [path.name for path in states_in(tmp_path)][:1] == ["state-000001"]
    states.finish()
    assert [damage(path) for path in states_in(tmp_path)] == [None, None]


def test_a_full_disk_is_told_once_at_the_next_save_or_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, states = Held(monkeypatch), states_of(tmp_path, Weights())
    disk.go.set()
    for tell in (states.finish, lambda: states.save("state-000002", None)):
        disk.full = True
        states.save("state-000001", None)
        with pytest.raises(OSError, match="No space left"):
            tell()
        assert list(tmp_path.iterdir()) == []
        disk.full = False
        states.finish()
        assert states.finish_alone() is None
    disk.full = True
    states.save("state-000001", None)
    assert "No space left" in str(states.finish_alone())


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write their states as on a GPU."""
    monkeypatch.setattr(loop_job, "Checkpoints", lambda *words, **_: Checkpoints(*words, beside=True))


WORDS = [*TINY, "tune=off", "strategy.ema=0.5", "trainer.checkpoint_every=2 steps", "trainer.keep=9"]


def test_a_run_has_the_states_of_one_that_waits(command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(*WORDS, "name=waits").code == 0
    monkeypatch.setattr(loop_job, "Checkpoints", lambda *words, **_: Checkpoints(*words, beside=True))
    assert command(*WORDS, "name=goes_on").code == 0
    one, other = (states_in(Path(f"outputs/runs/{name}/checkpoints")) for name in ("waits", "goes_on"))
    assert [path.name for path in one] == [path.name for path in other] and len(one) > 2
    for ours, theirs in zip(one, other, strict=True):
        a, b = load(ours).parts, load(theirs).parts
        assert all(torch.equal(t, b[name].tensors[key]) for name in a for key, t in a[name].tensors.items())


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(("failing", "step"), [(2, 3), pytest.param(4, 6, marks=pytest.mark.slow)])
def test_a_run_whose_state_could_not_be_written_fails_and_says_which(
    failing: int, step: int, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle, and at the end, where nothing is saved any more."""
    write, count = Checkpoints._write, iter(range(1, 100))

    def full(*arguments: Any) -> None:
        if next(count) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(Checkpoints, "_write", full)
    ended = command(*WORDS, "name=full")
    assert ended.code == 3 and f"the state at step {step} cannot be written" in ended.err and "No space" in ended.err
    assert summary("outputs/runs/full")["status"] == "failed"


@pytest.mark.slow
@pytest.mark.usefixtures("beside")
def test_what_could_not_be_written_is_told_beside_what_ends_the_run(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoints, "_write", full)
    words = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.checkpoint_every=1 steps", "name=far"]
    ended = command(*TINY, "tune=off", *words)
    assert ended.code == 3
    assert "cannot be written" in ended.out + ended.err


def test_on_a_gpu_nobody_waits_for_the_copies() -> None:
    """But the thread that writes them."""
    with fake_gpu(lambda: iter(nn.Linear(1, 1).parameters())) as audit:
        weight = there(torch.empty(1, 3, 2, 2).to(memory_format=torch.channels_last))
        kept = on_host({"w": weight, "step": torch.zeros(())})
        arrival({weight.device})()
        assert weight.device == GPU and kept["w"].device.type == kept["step"].device.type == "cpu"
        assert audit.found == []
        weight.cpu()
        assert len(audit.found) == 1, "the control: an ordinary copy waits"


@pytest.mark.gpu
def test_a_state_of_a_gpu_is_that_of_its_moment(tmp_path: Path) -> None:
    for device, beside in (("cuda", True), ("cpu", False)):
        save_and_train(tmp_path / device, Weights(device), beside=beside)
    assert files(tmp_path / "cuda") == files(tmp_path / "cpu")
