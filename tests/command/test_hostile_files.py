"""YAML that wants more than to say values, wherever YAML is read: nothing runs, nothing hangs, one message at most."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command.test_hydra_settings import PAYLOAD
from tests.conftest import TINY, Ended
from transfer_cli.command.hydra_settings import _flat
from transfer_cli.command.source import ConfigSource, compose_plainly, conf_dir

Command = Callable[..., Ended]
GLOBAL = "# @package _global_\n"
CALL = {"_target_": "payload.Payload"}
# Written anew at each composition, or what a file may say.
_NOT_SET = ("runtime.", "job.override_dirname", "job.config_name", "output_subdir", "run.dir", "overrides.")


def _hydra_keys() -> list[str]:
    """Each key of Hydra's own node, leaves and what holds them."""
    leaves = [*_flat(compose_plainly(ConfigSource(conf_dir(), None, None), []).hydra)]
    holders = {leaf.rpartition(".")[0] for leaf in leaves} - {""}
    return sorted({*leaves, *holders, "callbacks.x", "launcher.x", "sweeper.x", "job_logging.handlers.x.()"})


KEYS = [key for key in _hydra_keys() if not f"{key}.".startswith(_NOT_SET)]
_LAUGHS = "".join(f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'a'}]\n" for n in range(9))
TEXTS: dict[str, str | bytes] = {
    "apply": "seed: !!python/object/apply:payload.Payload []\n",
    "apply os.system": "seed: !!python/object/apply:os.system ['touch it_ran']\n",
    "apply with a list": "!!python/object/apply:subprocess.check_call [[touch, it_ran]]\n",
    "new": "seed: !!python/object/new:payload.Payload {}\n",
    "object": "seed: !!python/object:payload.Payload {}\n",
    "name": "seed: !!python/name:payload.Payload\n",
    "module": "seed: !!python/module:payload\n",
    "tuple": "seed: !!python/tuple [1]\n",
    "tag of its own": "seed: !payload 1\n",
    "binary": "seed: !!binary aGVsbG8=\n",
    "a set": "seed: !!set {1, 2}\n",
    "a date": "seed: 2020-02-30\n",
    "a key that is a list": "[1, 2]: 3\n",
    "a key that is a mapping": "{a: 1}: 3\n",
    "a key that is null": "null: 3\n",
    "a key that is a number": "7: 3\n",
    "a billion laughs": _LAUGHS,
    "an anchor within itself": "trainer: &a {epochs: *a}\n",
    "an alias of nothing": "seed: *nowhere\n",
    "a merge": "trainer:\n  <<: {_target_: payload.Payload}\n",
    "a merge of a number": "trainer:\n  <<: 3\n",
    "the same key twice": "seed: 1\nseed: 2\n",
    "two documents": "seed: 1\n---\nseed: 2\n",
    "a list": "- seed\n",
    "a number": "3\n",
    "text": "seed\n",
    "nothing": "",
    "a tab": "trainer:\n\tepochs: 1\n",
    "a quote without end": 'seed: "1\n',
    "a bracket without end": "seed: [1\n",
    "NUL": b"seed: 1\x00\n",
    "an escape": b"name: \x1b[31m\n",
    "bytes": bytes(range(128, 256)),
    "Latin-1": "name: größe\n".encode("latin-1"),
    "UTF-16": "seed: 1\n".encode("utf-16"),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "a number of 5,000 digits": f"seed: {'9' * 5000}\n",
    "0o": f"seed: 0{'7' * 5000}\n",
    "sixty": "seed: 1:2:3\n",
    "5,000 deep": f"seed: {'[' * 5000}\n",
    "5,000 deep in lines": "".join(f"{' ' * n}a:\n" for n in range(1500)),
    "a megabyte": f"name: {'a' * 10**6}\n",
    "10,000 keys": "".join(f"key{n}: 1\n" for n in range(3000)),
    "code of OmegaConf": "name: ${oc.eval:1}\n",
    "a resolver that imports": "name: ${hydra.utils.instantiate:payload.Payload}\n",
    "itself": "name: ${name}\n",
    "each other": "name: ${cache_dir}\ncache_dir: ${name}\n",
    "a secret": "name: ${oc.env:SECRET}\n",
    "a decoded secret": "name: ${oc.decode:${oc.env:SECRET}}\n",
    "a place outside": "name: ../../it_ran\n",
    "an absolute name": "name: /tmp/it_ran\n",
    "NUL in a name": 'name: "a\\0b"\n',
    "a call in the model": "model:\n  _target_: payload.Payload\n",
    "a call in a list": "compare:\n  rows: [{_target_: payload.Payload}]\n",
    "a call as a value": "seed: {_target_: payload.Payload}\n",
    "a call as a default": "defaults:\n  - _target_: payload.Payload\n",
    "defaults outside": "defaults:\n  - /../../etc/passwd\n",
    "defaults that are a number": "defaults: 3\n",
    "defaults of itself": "defaults:\n  - /experiment: x\n",
    "defaults of Hydra": "defaults:\n  - /hydra/callbacks: x\n",
    "defaults by package": "defaults:\n  - /strategy@hydra.callbacks.x: finetune\n",
    "Hydra as a number": "hydra: 3\n",
    "Hydra as a list": "hydra: [{_target_: payload.Payload}]\n",
    "Hydra as a reference": "hydra: ${trainer}\n",
    "strategy as text": "strategy: payload.Payload\n",
    "resume as a call": "resume: {_target_: payload.Payload}\n",
}
MOST = 3
"""So many in `make test`; all of them where there is time."""


def _some(cases: list[str]) -> list[Any]:
    every = max(1, len(cases) // MOST)
    return [pytest.param(one, marks=[] if n % every == 0 else pytest.mark.slow) for n, one in enumerate(cases)]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "payload.py").write_text(PAYLOAD.format(mark=str(tmp_path / "it_ran")))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setenv("SECRET", "xyzzy")
    return tmp_path / "it_ran"


def refused(ended: Ended) -> bool:
    """Whether it was refused, in one message."""
    assert ended.code in (0, 2), ended.err
    assert "Traceback" not in ended.err and len(ended.err) < 20_000
    assert "\x1b" not in ended.err
    assert (ended.err.startswith("error: ") and len(ended.err) > 20) == (ended.code == 2), ended.err
    return ended.code == 2


def test_there_are_enough() -> None:
    assert len(KEYS) >= 30
    assert len(TEXTS) >= 60


@pytest.mark.parametrize("key", _some(KEYS))
def test_a_call_at_each_key_of_hydra(command: Command, tmp_path: Path, mark: Path, key: str) -> None:
    value: Any = CALL
    for word in reversed(key.split(".")):
        value = {word: value}
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "x.yaml").write_text(GLOBAL + yaml.safe_dump({"hydra": value}))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"seed": 0, "hydra": value}))
    for words in (["--config-dir", "mine", "experiment=x"], ["--config-path", "run"]):
        for flags in ([], ["-m", "seed=0,1"]):
            assert refused(command(*flags, *words, *TINY)), words
    assert not mark.exists() and not Path("outputs").exists()


@pytest.mark.parametrize("name", _some([*TEXTS]))
def test_texts(command: Command, tmp_path: Path, mark: Path, name: str) -> None:
    content = TEXTS[name]
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "x.yaml").write_bytes(GLOBAL.encode() + data)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes(data)
    refused(command("--config-dir", "mine", "experiment=x", *TINY, "--cfg", "job", "-p", "trainer"))
    shown = command("--config-path", "run", "--cfg", "job", "-p", "seed")
    refused(shown)
    assert refused(command("mode=evaluate", "run=run", "trainer.device=cpu"))
    assert refused(command("resume=run"))
    assert "xyzzy" not in shown.err
    assert not mark.exists() and not Path("outputs").exists()
    assert not (tmp_path.parent / "it_ran").exists()


@pytest.mark.parametrize("name", ["laughs", "deep/er/laughs"])
def test_what_a_defaults_list_reaches_is_looked_at_too(command: Command, tmp_path: Path, name: str) -> None:
    file = tmp_path / "mine" / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    (tmp_path / "mine" / "experiment").mkdir()
    file.write_text(_LAUGHS)
    (tmp_path / "mine" / "experiment" / "x.yaml").write_text(f"{GLOBAL}defaults: [/{name}]\n")
    ended = command("--config-dir", "mine", "experiment=x", *TINY, "--cfg", "job", "-p", "seed")
    assert refused(ended) and "references" in ended.err


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to itself", "dangling link", "unreadable"])
def test_files_that_are_none(command: Command, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "mine" / "experiment" / "x.yaml"
    file.parent.mkdir(parents=True)
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "unreadable":
        file.write_text("seed: 1")
        file.chmod(0)
        if os.getuid() == 0:
            pytest.skip("root reads everything")
    else:
        file.symlink_to(file if kind == "link to itself" else "nowhere")
    assert refused(command("--config-dir", "mine", "experiment=x", *TINY, "--cfg", "job"))
