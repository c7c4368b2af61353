"""Disks that are full or read-only: no traceback, no torn file, the last good state kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from tests.conftest import TINY, Ended, start, summary
from transfer_cli.engine import checkpoints
from transfer_cli.models import tensors


def test_a_full_disk_while_running_keeps_the_last_state(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = tensors.save_file, []

    def filling(contents: object, path: Path) -> None:
        calls.append(path)
        if len(calls) > 4:  # three files a state: the second state does not fit
            # What safetensors raises then; it is no OSError.
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        real(contents, path)  # type: ignore[arg-type]

    monkeypatch.setattr(tensors, "save_file", filling)
    ended = command(*TINY, "name=full")
    assert ended.code == 3
    assert "No space left" in ended.err
    assert "Traceback" not in ended.err
    run = Path("outputs/runs/full")
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["state-000001"]
    assert checkpoints.damage(run / "checkpoints" / "state-000001") is None
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
def test_a_disk_that_takes_no_more_of_a_file(limit: int, words: list[str]) -> None:
    """The system's own refusal, wherever it comes: weights, states, pixels, features, logs."""
    given = [*TINY, *words, "tune=off", "resume=auto"]
    process = start(*given, "name=full", preexec_fn=_limited(limit))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err and "File too large" in err
    left = [*Path("outputs").rglob("*.writing*"), *Path("cache").rglob(".filling*")]
    assert not left
    for name in ("full", "whole"):
        again = start(*given, f"name={name}")
        _, err = again.communicate(timeout=120)
        assert again.returncode == 0, err
    for file in ("model.safetensors", "metrics.jsonl", "predictions.csv"):
        assert Path("outputs/runs/full", file).read_bytes() == Path("outputs/runs/whole", file).read_bytes()
