"""Messages that name what was probably meant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from transfer_cli.cli import guarded
from transfer_cli.errors import RunError, did_you_mean, is_out_of_memory, out_of_memory, unknown
from transfer_cli.records.text import shortened


def test_the_nearest_names_make_a_sentence_to_stand_behind_another() -> None:
    assert did_you_mean("resnet_50", ["resnet50", "vgg"]) == " Did you mean resnet50?"
    assert did_you_mean("epoch", ["epochs", "steps"], "trainer.") == " Did you mean trainer.epochs?"
    assert did_you_mean("epoch", ["vgg"]) == ""


def test_an_unknown_name_is_told_with_the_choices() -> None:
    message = str(unknown("model.weights", "atuo", ["none", "auto"]))
    assert message == "model.weights=atuo: no such choice. Did you mean auto? Choices: auto, none."


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        (IsADirectoryError(21, "Is a directory", ".a.writing", None, "a"), 3, "error: a: Is a directory\n"),
        (OSError(5, "Input/output error"), 3, "error: Input/output error\n"),
        (FileNotFoundError(2, "No such file or directory", "a"), 1, "this is a bug"),
    ],
)
def test_what_the_system_refuses_is_no_bug(
    capsys: pytest.CaptureFixture[str], raised: OSError, code: int, says: str
) -> None:
    def work() -> int:
        raise raised

    assert guarded(work) == code
    err = capsys.readouterr().err
    assert says in err and ("Traceback" in err) == (code == 1)


def test_of_very_many_lines_the_first_are_shown() -> None:
    assert shortened("\n".join(map(str, range(3000)))).split("\n")[99:] == ["99", "... and 2,900 more lines"]


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(1 << 50), lambda: np.empty(1 << 50), lambda: bytearray(1 << 50)],
    ids=["torch", "numpy", "python"],
)
def test_every_allocator_is_understood(allocate: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        allocate()
    assert is_out_of_memory(raised.value)
    assert "GiB" in out_of_memory(raised.value)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 5 GB)",
    ],
)
def test_devices_too(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


def test_other_errors_are_not_taken_for_it() -> None:
    assert not is_out_of_memory(RuntimeError("shape '[2]' is invalid"))
    assert not is_out_of_memory(RunError("out of memory with one image at a time"))


def test_the_bytes_that_were_wanted_are_told() -> None:
    message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 102760448 bytes. Error code 12"
    assert out_of_memory(RuntimeError(message)).startswith("out of memory (98.0 MiB more were wanted)")
