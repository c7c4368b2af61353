"""mode=fetch as it is used: fetched here, carried, unpacked there, trained without a network."""

from __future__ import annotations

import os
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.conftest import TINY, Ended, start
from tests.downloads.server import COMMIT, Server, serving, without_proxy
from transfer_cli.downloads import reach, transfer
from transfer_cli.downloads.digest import Digest
from transfer_cli.models import fetching
from transfer_cli.models.fetching import Remote

Command = Callable[..., Ended]
HUB_FILE = "timm/test_resnet.r160_in1k/model.safetensors"
MODEL = ["model.name=test_resnet", "model.source=timm"]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxy(monkeypatch)
    monkeypatch.setattr(transfer, "PAUSES_SECONDS", ())


@pytest.fixture(scope="module")
def weights() -> bytes:
    """Weights of timm's smallest network."""
    import timm
    from safetensors.torch import save

    return save(timm.create_model("test_resnet", num_classes=1000).state_dict())


@pytest.fixture
def server(weights: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A stand-in for the model hub, and for the server of torchvision's weights."""
    with serving() as server:
        server.hub[HUB_FILE] = weights
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield server


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """`machine("server", network=False)`: from here on caches are those of that machine."""

    def switch(name: str, *, network: bool) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / name / "torch"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / name / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not network)
        if not network:
            monkeypatch.setattr(reach, "_connects", lambda host, port: False)
        return tmp_path / name

    return switch


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_carried_to_a_machine_without_a_network(
    command: Command, server: Server, machine: Callable[..., Path], weights: bytes
) -> None:
    machine("office", network=True)
    ended = command("mode=fetch", *MODEL, "fetch.pack=kit.tar")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "kit.tar"
    (row,) = [line for line in ended.out.splitlines() if line.startswith("test_resnet")]
    assert "timm test_resnet.r160_in1k" in row
    assert "fetched" in row
    with tarfile.open("kit.tar") as tar:
        assert tar.getnames() == ["manifest.json", HUB_FILE]
    there = machine("server", network=False)
    ended = command(*TINY, *MODEL, "model.weights=auto", "trainer.epochs=0")
    assert ended.code == 2, "not found before it is carried"
    assert "mode=fetch fetch.unpack=kit.tar" in ended.err
    ended = command("mode=fetch", "fetch.unpack=kit.tar")
    assert ended.code == 0, ended.err
    assert "unpacked" in ended.out
    assert _files(there)[1:] == [f"hub/models--timm--test_resnet.r160_in1k/{name}" for name in _places(weights)][1:]
    assert command(*TINY, *MODEL, "model.weights=auto", "trainer.epochs=0", "name=there").code == 0
    ended = command("mode=fetch", "fetch.unpack=kit.tar")
    assert "at hand" in ended.out
    assert "all of it was there before" in ended.out


def _places(weights: bytes) -> list[str]:
    import hashlib

    return [f"blobs/{hashlib.sha256(weights).hexdigest()}", "refs/main", f"snapshots/{COMMIT}/model.safetensors"]


def test_what_is_there_is_not_fetched_again_unless_it_is_damaged(
    command: Command, server: Server, machine: Callable[..., Path]
) -> None:
    machine("office", network=True)
    assert command("mode=fetch", *MODEL).code == 0
    asked = len(server.asked)
    ended = command("mode=fetch", *MODEL)
    assert "at hand" in ended.out
    assert len(server.asked) == asked
    path = fetching.cached(Remote(None, "timm/test_resnet.r160_in1k", "model.safetensors"))
    assert path is not None
    content = path.read_bytes()
    path.write_bytes(b"x" + content[1:])
    ended = command("mode=fetch", *MODEL)
    assert ended.code == 0
    assert "damaged" in ended.out
    assert path.read_bytes() == content


def test_the_hub_sends_other_bytes_than_it_says(
    command: Command, server: Server, machine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine("office", network=True)
    monkeypatch.setattr(Digest, "of_etag", lambda etag: Digest("0" * 64))
    ended = command("mode=fetch", *MODEL)
    assert ended.code == 2
    assert "what came is damaged" in ended.err
    assert _files(folder) == []


def test_quiet_prints_the_archive_alone(command: Command, server: Server, machine: Callable[..., Path]) -> None:
    machine("office", network=True)
    assert command("mode=fetch", *MODEL, "fetch.pack=kit.tar", "quiet=true").out == "kit.tar\n"
    assert command("mode=fetch", "fetch.unpack=kit.tar", "quiet=true").out == ""


def test_weights_of_packages_count_as_at_hand(command: Command, machine: Callable[..., Path]) -> None:
    machine("server", network=False)
    ended = command("mode=fetch")
    assert ended.code == 0
    assert "at hand, package" in ended.out
    ended = command("mode=fetch", "fetch.pack=kit.tar")
    assert ended.code == 2
    assert "there is nothing to pack" in ended.err
    assert not Path("kit.tar").exists()


@pytest.fixture
def resnet18(monkeypatch: pytest.MonkeyPatch, server: Server) -> bytes:
    """Made-up weights where torchvision's table points to for every model, their hash in their name."""
    import hashlib

    content = b"weights" * 1000
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[f"/{name}"] = content
    monkeypatch.setattr(Remote, "from_url", lambda url: Remote(f"{server.url}/{name}", None, name))
    return content


def test_torchvisions_weights_by_option_and_name(
    command: Command, server: Server, resnet18: bytes, machine: Callable[..., Path]
) -> None:
    folder = machine("office", network=True)
    ended = command("mode=fetch", "fetch.models=[resnet18,test_resnet]", "fetch.pack=kit.tar")
    assert ended.code == 0, ended.err
    (file,) = (folder / "torch/hub/checkpoints").iterdir()
    assert file.read_bytes() == resnet18
    there = machine("server", network=False)
    assert command("mode=fetch", "fetch.unpack=kit.tar").code == 0
    assert (there / "torch/hub/checkpoints" / file.name).read_bytes() == resnet18
    assert command("mode=fetch", "fetch.models=[resnet18,test_resnet]").code == 0


@pytest.mark.parametrize("served", [True, False])
def test_a_mirror_is_asked_first(
    command: Command,
    server: Server,
    resnet18: bytes,
    machine: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    served: bool,
) -> None:
    """That is an archive of mode=fetch, unpacked by any tar."""
    machine("office", network=True)
    assert command("mode=fetch", "fetch.models=[resnet18,test_resnet]", "fetch.pack=kit.tar").code == 0
    with tarfile.open("kit.tar") as tar:
        tar.extractall("mirror", filter="data")
    before = len(server.asked)
    there = machine("server", network=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.files |= {f"/m/{name}": Path("mirror", name).read_bytes() for name in _files(Path("mirror"))}
    monkeypatch.setenv("TRANSFER_RUN_MIRROR", f"{server.url}/m/" if served else "mirror")
    ended = command("mode=fetch", "fetch.models=[resnet18,test_resnet]")
    assert ended.code == 0, ended.err
    assert len(_files(there)) == 4
    assert all(path.startswith("/m/") for _, path, _ in server.asked[before:])
    assert (len(server.asked) > before) == served
    # A poisoned mirror.
    machine("other", network=False)
    monkeypatch.setattr(reach, "_connects", lambda host, port: True)
    for name in _files(Path("mirror"))[1:]:
        Path("mirror", name).write_bytes(b"poison")
        server.files[f"/m/{name}"] = b"poison"
    del server.files[next(name for name in server.files if name.startswith("/resnet18"))]
    for model in ("resnet18", "test_resnet"):
        ended = command("mode=fetch", f"fetch.models=[{model}]")
        assert ended.code == 2
        assert "what came is damaged" in ended.err


def test_a_mirror_that_is_nowhere(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFER_RUN_MIRROR", "/no/such/folder")
    ended = command("mode=fetch", *MODEL)
    assert ended.code == 2
    assert "TRANSFER_RUN_MIRROR=/no/such/folder: no such folder" in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fetch.models=[resnet5O]"], "resnet50"),
        (["fetch.models=[timm]"], "name the model itself"),
        (["fetch.datasets=[cifar1O]"], "Did you mean cifar10"),
        (["fetch.datasets=[digits]"], "fetch.datasets=digits: no such choice"),
        (["fetch.unpack=none.tar"], "fetch.unpack=none.tar: no such file"),
        (["fetch.unpack=."], "expected a tar archive"),
        (["fetch.unpack=taken", "fetch.models=[resnet18]"], "leave fetch.models out"),
        (["fetch.unpack=taken"], "Nothing of it was used"),
        (["fetch.pack=taken"], "is there already"),
        (["fetch.pack=no/folder/kit.tar"], "fetch.pack=no/folder: no such file or folder"),
        (["mode=train", "fetch.pack=kit.tar"], "only mode=fetch reads"),
        (["fetch.model=[resnet18]"], "fetch.models"),
    ],
)
def test_wrong_words_write_nothing(
    command: Command, machine: Callable[..., Path], words: list[str], said: str, tmp_path: Path
) -> None:
    machine("server", network=False)
    Path("taken").write_bytes(b"")
    ended = command("mode=fetch", *words)
    assert ended.code == 2, ended.out
    assert said in ended.err
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.slow
def test_killed_while_it_downloads(server: Server, tmp_path: Path, weights: bytes) -> None:
    """By SIGKILL, half way: the same command goes on from there, and leaves nothing else behind."""
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    half = len(weights) // 2
    server.silent_after = half
    process = start("mode=fetch", *MODEL, **environment)
    blobs = tmp_path / "hf/hub/models--timm--test_resnet.r160_in1k/blobs"
    until = time.monotonic() + 60
    while sum(path.stat().st_size for path in blobs.glob("*")) < half and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    print(process.communicate())
    server.silent_after = None
    (left,) = os.listdir(blobs)
    assert left.endswith(".partial")
    ended = start("mode=fetch", *MODEL, **environment)
    _, err = ended.communicate(timeout=60)
    assert ended.returncode == 0, err
    assert [part for method, _, part in server.asked if method == "GET" and part] == [f"bytes={half}-"]
    (found,) = blobs.iterdir()
    assert found.read_bytes() == weights
    assert not found.name.endswith(".partial")
