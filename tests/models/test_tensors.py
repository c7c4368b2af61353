"""Tensors in files, also where the disk has no room for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from transfer_cli.errors import UserError
from transfer_cli.models.tensors import load_into, metadata_of, read_tensors, replace_tensors, write_tensors


def test_they_come_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {"a": torch.rand(3, 4).T, "b": torch.arange(5)}
    write_tensors(tmp_path / "t.safetensors", tensors)
    found = load_file(tmp_path / "t.safetensors")
    assert all(found[name].equal(tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_others_may_read_them_as_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "t.safetensors").stat().st_mode & 0o777 == mode


def test_no_room_is_an_os_error(tmp_path: Path) -> None:
    """A real limit on the size of files: the library raises an error of its own there."""
    code = f"""
import resource, signal, torch
from pathlib import Path
from transfer_cli.models.tensors import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_tensors(Path({str(tmp_path)!r}) / "t.safetensors", {{"a": torch.zeros(10000)}})
except OSError as error:
    print("OSError")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.stdout == "OSError\n", done.stderr


def test_a_module_that_asks_for_versions_takes_tensors_of_a_file() -> None:
    """torchvision's MNASNet refuses a state dict without them."""
    one, other = (torchvision.models.mnasnet0_5(num_classes=3) for _ in range(2))
    with pytest.raises(ValueError, match="version"):
        other.load_state_dict(dict(one.state_dict()))
    load_into(other, dict(one.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    """A flipped bit of a weight is another weight: nothing of safetensors' own would tell."""
    kinds = [torch.float32, torch.bfloat16, torch.int64, torch.bool]
    tensors = {f"{kind}": torch.ones(2, 3).to(kind) for kind in kinds} | {
        "one": torch.tensor(2.0),
        "no": torch.empty(0),
    }
    path = tmp_path / "t.safetensors"
    replace_tensors(path, tensors, {"temperature": "1.5"})
    found, whole = read_tensors(path), path.read_bytes()
    assert all(found[name].equal(tensor) for name, tensor in tensors.items())
    assert metadata_of(path)["temperature"] == "1.5"
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = read_tensors(path)
        except UserError:
            continue
        same = all(name in found and found[name].equal(tensor) for name, tensor in tensors.items())
        # Where our entry has another name there is none, and model.json says it too.
        assert same and metadata_of(path).get("temperature") in ("1.5", None), place


def test_a_file_of_another_program_has_no_checksum(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"a": torch.ones(2)}, {"format": "pt"})
    assert read_tensors(tmp_path / "t.safetensors")["a"].equal(torch.ones(2))
