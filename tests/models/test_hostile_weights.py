"""Weights that were made to do harm: each is refused in a message, nothing runs, nothing is written outside."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.test_checkpoint_files import loaded, tiny
from transfer_cli.errors import UserError

# What a pickle may name to run something, each with arguments that would leave `pwned` behind, or end the process.
CALLS: dict[str, tuple[str, ...]] = {
    "os.system": ("touch pwned",),
    "posix.system": ("touch pwned",),
    "os.mkdir": ("pwned",),
    "os.abort": (),
    "os._exit": ("0",),
    "subprocess.getoutput": ("touch pwned",),
    "builtins.eval": ("open('pwned', 'w')",),
    "builtins.exec": ("open('pwned', 'w')",),
    "builtins.open": ("pwned", "w"),
    "builtins.__import__": ("antigravity",),
    "builtins.getattr": ("os", "system"),
    "builtins.breakpoint": (),
    "builtins.compile": ("1", "x", "eval"),
    "importlib.import_module": ("antigravity",),
    "runpy.run_path": ("payload.py",),
    "shutil.copyfile": ("evil.pth", "pwned"),
    "pathlib.Path": ("pwned",),
    "io.FileIO": ("pwned", "w"),
    "codecs.open": ("pwned", "w"),
    "marshal.loads": ("x",),
    "pickle.loads": ("x",),
    "ctypes.CDLL": ("libc.so.6",),
    "operator.attrgetter": ("system",),
    "functools.partial": ("x",),
    "types.FunctionType": ("x",),
    "timeit.timeit": ("open('pwned', 'w')",),
    "code.interact": (),
    "webbrowser.open": ("file:///",),
    "urllib.request.urlopen": ("file:///etc/passwd",),
    "socket.socket": (),
    "logging.FileHandler": ("pwned",),
    "tempfile.mktemp": (),
    "torch.load": ("evil.pth",),
    "torch.save": ("x", "pwned"),
    "torch.hub.load": ("x", "y"),
    "torch.jit.load": ("evil.pth",),
    "torch.ops.load_library": ("evil.so",),
    "torch.utils.cpp_extension.load": ("x", "y"),
    "torch._inductor.codecache.PyCodeCache.load": ("x",),
    "torch.nn.modules.linear.Linear": ("1", "1"),
    "numpy.load": ("evil.npy",),
    "numpy.fromfile": ("/etc/passwd",),
    "transfer_cli.cli.main": ("mode=cache",),
    "transfer_cli.files.atomic_write_text": ("pwned", "x"),
    "payload.Payload": (),
}


def _pickled(name: str, arguments: tuple[str, ...]) -> bytes:
    """A state_dict one of whose values is what a call returns."""
    module, _, attribute = name.rpartition(".")
    call = f"c{module}\n{attribute}\n".encode() + b"(" + b"".join(f"V{one}\n".encode() for one in arguments) + b"tR"
    return b"(dVw\n" + call + b"s."


def in_zip(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return made.getvalue()


def legacy(content: bytes) -> bytes:
    head = b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    return head + b"\x80\x02" + content + pickle.dumps([], 2)


def safetensors(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**other: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **other}}


def saved(value: Any) -> bytes:
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


def rebuilt(*, storage: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A tensor that reaches beyond the numbers that it has."""

    class Persistent(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", storage) if value == "STORAGE" else None

    class Rebuilt:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_tensor_v2, ("STORAGE", offset, size, stride, False, {})

    text = io.BytesIO()
    Persistent(text, 2).dump({"w": Rebuilt()})
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", text.getvalue())
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(4 * 4))
    return made.getvalue()


def with_member(name: str) -> bytes:
    content = io.BytesIO(saved({"w": torch.ones(2)}))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(name, "pwned")
    return content.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("../pwned", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"pwnd"))
    return made.getvalue()


def zip_bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300_000_000))
    return made.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "a deep pickle": lambda: in_zip(b"(" * 200_000 + b"l" * 10 + b"."),
    "a pickle that asks for 2 GB": lambda: in_zip(b"T\xff\xff\xff\x7fa."),
    "a pickle without an end": lambda: in_zip(b"(dVw\n"),
    "a pickle of a memo that is none": lambda: in_zip(b"g99\n."),
    "a pickle with state for an object": lambda: in_zip(b"(dVw\nctorch\nTensor\n)\x81}b."),
    "a persistent identifier": lambda: in_zip(b"Vx\nQ."),
    "an extension": lambda: in_zip(b"\x82\x01."),
    "a zip bomb": zip_bomb,
    "a tar archive": tarred,
    "a member outside": lambda: with_member("../../pwned"),
    "an absolute member": lambda: with_member("/tmp/pwned"),
    "numbers beyond its storage": lambda: rebuilt(storage=4, offset=0, size=(1000, 1000), stride=(1000, 1)),
    "an offset beyond its storage": lambda: rebuilt(storage=4, offset=10**6, size=(2,), stride=(1,)),
    "a negative offset": lambda: rebuilt(storage=4, offset=-4, size=(2,), stride=(1,)),
    "negative strides": lambda: rebuilt(storage=4, offset=3, size=(4,), stride=(-1,)),
    "a negative size": lambda: rebuilt(storage=4, offset=0, size=(-4,), stride=(1,)),
    "strides of nothing": lambda: rebuilt(storage=4, offset=0, size=(2**40, 2**20), stride=(0, 0)),
    "a storage that says more": lambda: rebuilt(storage=10**12, offset=0, size=(10**6,), stride=(1,)),
    "a meta tensor": lambda: saved({"w": torch.ones(2, device="meta")}),
    "a nested tensor": lambda: saved({"w": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}),
    "a quantised tensor": lambda: saved({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}),
    "a sparse tensor": lambda: saved({"w": torch.eye(3).to_sparse_csr()}),
    "an array of objects": lambda: saved({"w": np.array([{}], dtype=object)}),
    "names that are paths": lambda: saved({"../../pwned": torch.ones(2), "/tmp/pwned": torch.ones(2)}),
    "names that are numbers": lambda: saved({1: torch.ones(2)}),
    "names with escapes": lambda: saved({"\x1b[31mred\nerror: forged": torch.ones(2)}),
    "a dictionary in itself": lambda: (d := {}, d.update(a=d), saved(d))[-1],  # type: ignore[has-type,misc]
    "a network in itself": lambda: (d := {"w": torch.ones(2)}, d.update(model=d), saved(d))[-1],  # type: ignore[misc]
    "safetensors: a header of 2^63 bytes": lambda: safetensors(one(), length=2**63),
    "safetensors: a header beyond its end": lambda: safetensors(one(), length=10**6),
    "safetensors: a header of no bytes": lambda: safetensors(b""),
    "safetensors: no JSON": lambda: safetensors(b"{" * 20),
    "safetensors: deep": lambda: safetensors(b"[" * 100_000),
    "safetensors: a list": lambda: safetensors([]),
    "safetensors: no tensors": lambda: safetensors({}, b""),
    "safetensors: no Unicode": lambda: safetensors(b'{"\xff": 1}'),
    "safetensors: the same name twice": lambda: safetensors(
        b'{"w": ' + json.dumps(one()["w"]).encode() + b', "w": ' + json.dumps(one()["w"]).encode() + b"}"
    ),
    "safetensors: an unknown type": lambda: safetensors(one(dtype="F1")),
    "safetensors: a type that is an object": lambda: safetensors(one(dtype={"_target_": "os.system"})),
    "safetensors: data that is too short": lambda: safetensors(one(), bytes(8)),
    "safetensors: data that is too long": lambda: safetensors(one(), bytes(32)),
    "safetensors: offsets the wrong way": lambda: safetensors(one(data_offsets=[16, 0])),
    "safetensors: negative offsets": lambda: safetensors(one(data_offsets=[-16, 0])),
    "safetensors: offsets beyond the end": lambda: safetensors(one(data_offsets=[2**62, 2**62 + 16])),
    "safetensors: a shape that overflows": lambda: safetensors(one(shape=[2**33, 2**33])),
    "safetensors: a shape of other size": lambda: safetensors(one(shape=[3, 3])),
    "safetensors: a negative shape": lambda: safetensors(one(shape=[-2, -2])),
    "safetensors: a shape of 10,000 axes": lambda: safetensors(one(shape=[1] * 10_000 + [4])),
    "safetensors: two that overlap": lambda: safetensors({**one(), "v": one()["w"]}),
    "safetensors: names that are paths": lambda: safetensors({"../../pwned": one()["w"]}),
    "safetensors: metadata that is none": lambda: safetensors({"__metadata__": 3, **one()}),
}


def refused(path: Path) -> None:
    """Loading ends in one message that is no longer than a page, and nothing has happened."""
    before = {file.name for file in path.parent.iterdir()}
    with pytest.raises(UserError) as told:
        loaded(path, tiny())
    message = str(told.value)
    assert path.name in message and len(message) < 2000
    assert "weights_only" not in message and "safe_globals" not in message
    assert {file.name for file in path.parent.iterdir()} == before
    assert not Path("pwned").exists() and not (path.parent.parent / "pwned").exists()


@pytest.mark.parametrize("container", [in_zip, pytest.param(legacy, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CALLS)
def test_calls_in_a_pickle(tmp_path: Path, name: str, container: Callable[[bytes], bytes]) -> None:
    (tmp_path / "payload.py").write_text("open('pwned', 'w')\n")
    (tmp_path / "evil.pth").write_bytes(container(_pickled(name, CALLS[name])))
    refused(tmp_path / "evil.pth")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.slow if one in ("a zip bomb", "a deep pickle") else []) for one in FILES],
)
def test_files(tmp_path: Path, name: str) -> None:
    file = tmp_path / ("evil.safetensors" if name.startswith("safetensors") else "evil.pth")
    file.write_bytes(FILES[name]())
    refused(file)
