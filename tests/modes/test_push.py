"""mode=push: what is sent and what is not, to a hub on this machine that the hub's own client talks to."""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from tests.conftest import Ended, experiment
from tests.modes.hub_server import HubServer
from tests.runs.reports.made import made, with_model
from transfer_cli.config.commands import PushCommand
from transfer_cli.config.parse import parse
from transfer_cli.config.using import push_problems
from transfer_cli.errors import UserError
from transfer_cli.files import file_sha256
from transfer_cli.records.cards.markdown import code, text
from transfer_cli.runs.pushing import hub as module
from transfer_cli.runs.pushing.package import pack
from transfer_cli.runs.pushing.private import command_without, local_paths, secrets_in, without_paths

Command = Callable[..., Ended]
RUN = Path("outputs/runs/one")
PUSH = ["mode=push", f"run={RUN}", "push.to=ann/digits"]
SENT = {"README.md", "config.yaml", "model.json", "model.safetensors"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    server = HubServer()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_tokenfortests")
    yield server
    server.shutdown()
    server.server_close()


def run_of(*words: str, **summary: object) -> Path:
    """With states, a log and pictures that no card speaks of, none of which are to be sent."""
    run = with_model(made(RUN, *words, **summary))
    for name in ("run.log", "checkpoints/state-000001/weights.safetensors", "plots/samples.png", "plots/curves.png"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("private")
    return run


def test_model_and_card_arrive_in_a_private_repository_and_nothing_else(hub: HubServer, command: Command) -> None:
    run = run_of()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ended = command(*PUSH)
    assert ended.code == 0, ended.err
    assert hub.repositories == {"ann/digits": True}
    assert {*hub.files} == {*SENT, "plots/curves.png"}
    for name in ("model.safetensors", "model.json"):
        assert hub.files[name] == (run / name).read_bytes()
    assert b"# one\n" in hub.files["README.md"] and b"(plots/curves.png)" in hub.files["README.md"]
    assert f"sent      {hub.address}/ann/digits/commit/" in ended.out and "model.safetensors" in ended.out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert command(*PUSH, "quiet=true").out == f"{RUN}\n", "a second time, to what is there"


def test_a_dry_run_needs_no_network_and_sends_nothing(command: Command) -> None:
    run_of()
    ended = command(*PUSH, "push.dry_run=true")
    assert ended.code == 0 and "nothing was sent" in ended.out
    lines = [line.split() for line in ended.out.splitlines()]
    assert {line[0] for line in lines if len(line) > 2 and line[2] in ("B", "kB")} == {*SENT, "plots/curves.png"}


def test_a_public_repository_has_to_be_meant(hub: HubServer, command: Command) -> None:
    run_of()
    hub.repositories["ann/digits"] = False
    ended = command(*PUSH)
    assert ended.code == 2 and "this repository is public; say push.private=false" in ended.err and not hub.files
    hub.repositories["ann/digits"] = True
    assert "is there and stays private" in command(*PUSH, "push.private=false").out
    assert command("mode=push", f"run={RUN}", "push.to=ann/new", "push.private=false").code == 0
    assert hub.repositories["ann/new"] is False


def test_local_paths_stay_here_unless_they_are_asked_for(hub: HubServer, command: Command) -> None:
    folder = "/srv/people/a_nn|x/my photos"
    run = run_of(f'dataset.path="{folder}"', "cache_dir=/srv/cache", weights=f"weights of run {folder}")
    about = json.loads((run / "environment.json").read_text())
    about["command"] = f"/opt/bin/transfer-run 'dataset.path={folder}' --config-dir /srv/own output_dir=/srv/out"
    (run / "environment.json").write_text(json.dumps(about))
    ended = command(*PUSH)
    assert ended.code == 0, ended.err
    assert f"of {folder}, " in ended.out and "at most the last part is sent" in ended.out
    everything = b"\0".join(hub.files.values()).decode(errors="replace")
    for part in ("/srv", "a_nn", "a\\_nn", str(Path.home())):
        assert part not in everything, part
    sent = yaml.safe_load(hub.files["config.yaml"])
    assert (sent["cache_dir"], sent["dataset"]["path"]) == ("auto", "my photos")
    assert parse(sent)
    assert b"'dataset.path=my photos'" in hub.files["README.md"]
    ended = command(*PUSH, "push.paths=true")
    assert "warning: push.paths=true: settings and card name" in ended.out
    assert yaml.safe_load(hub.files["config.yaml"])["dataset"]["path"] == folder


def test_paths_are_known_however_they_are_written() -> None:
    config = {"dataset": {"path": "/srv/bob's/photos"}, "cache_dir": "/data", "model": {"weights": "../../acme/w.pth"}}
    command = shlex.join(["/bin/transfer-run", "dataset.path=/srv/bob's/photos", "model.weights=../../acme/w.pth"])
    paths = local_paths(config, {"command": command})
    assert {"/srv/bob's/photos", "/data", "../../acme/w.pth"} <= {*paths}
    assert command_without(command, paths) == "/bin/transfer-run dataset.path=photos model.weights=w.pth"
    assert command_without("it's no command in /data", paths) == "it's no command in data"
    assert without_paths("ann/data https://x.org/data/a in /data and [/data/b]", paths) == (
        "ann/data https://x.org/data/a in data and [data/b]"
    )
    odd = "/srv/a|b_c/d"
    assert without_paths(f"{code(odd)} {text(odd)} {odd}", [odd]) == "`d` d d"


def test_a_card_that_somebody_has_edited_is_sent_as_it_is_but_for_paths(hub: HubServer, command: Command) -> None:
    run = run_of("dataset.path=/srv/a_b/photos")
    (run / "README.md").write_text("---\nlicense: mit\n---\nOf /srv/a_b/photos or /srv/a\\_b/photos.\n")
    assert command(*PUSH).code == 0
    assert hub.files["README.md"] == b"---\nlicense: mit\n---\nOf photos or photos.\n"
    assert "plots/curves.png" not in hub.files
    (run / "README.md").write_text("---\na: [\n---\n")
    ended = command(*PUSH)
    assert ended.code == 2 and "README.md: the YAML on its top cannot be read" in ended.err
    (run / "README.md").write_text("---\na: b\n---\n![x](plots/gone.png)\n")
    assert "shows plots/gone.png, which is not there" in command(*PUSH).err


def test_an_export_goes_with_the_card_that_speaks_of_it(hub: HubServer, command: Command) -> None:
    run = run_of()
    folder = run / "export" / "onnx"
    folder.mkdir(parents=True)
    names = ["model.onnx", "example.py", "export.json", "../../run.log"]
    about = {"format": "onnx", "compared": {"images": 3, "largest_difference": 1e-6}, "files": names, "run": "/srv/x"}
    for name in names[:2]:
        (folder / name).write_text(name)
    (folder / "export.json").write_text(json.dumps({**about, "model_sha256": "another"}))
    assert command(*PUSH).code == 0 and "export/onnx/model.onnx" not in hub.files, "of another model"
    (folder / "export.json").write_text(json.dumps({**about, "model_sha256": file_sha256(run / "model.safetensors")}))
    assert command(*PUSH).code == 0
    assert {name for name in hub.files if "export" in name} == {"export/onnx/model.onnx", "export/onnx/example.py"}
    assert b"python export/onnx/example.py photo.jpg" in hub.files["README.md"]
    for trace in (b'\0File "/srv/x/layer.py", line 3, in forward', b'{"t": "File \\"/srv/x/layer.py\\", line 3"}'):
        (folder / "model.onnx").write_bytes(trace)
        ended = command(*PUSH)
        assert ended.code == 2 and "export/onnx/model.onnx: names Python files of the machine" in ended.err
        assert command(*PUSH, "push.paths=true").code == 0


def test_what_looks_like_a_secret_is_not_sent(hub: HubServer, command: Command) -> None:
    run = run_of()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataset"]["path"] = "https://ann:geheim@example.org/x"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    ended = command(*PUSH)
    assert ended.code == 2 and "has an address with a password, which looks like a secret" in ended.err
    assert "config.yaml: line" in ended.err and "geheim" not in ended.err + ended.out and not hub.asked


def test_secrets_are_known_and_other_words_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    assert secrets_in("a\nkey 0123456789abcdef") == ["it holds the value of the variable WANDB_API_KEY"]
    assert secrets_in("https://x.org/w?X-Amz-Signature=fedcba9876543210") == ["line 1 has an address with a key"]
    assert secrets_in("a: hf_AbCdEfGhIjKlMnOpQrStUv") == ["line 1 has an access key"]
    assert secrets_in("x: ${oc.env:HOME}") == ["line 1 has a reference to the environment"]
    assert secrets_in("", {"strategy": {"hub_token": "x", "pooling": "token"}}) == ["strategy.hub_token is set"]
    assert secrets_in(yaml.safe_dump({"pooling": "token", "a": "https://arxiv.org/abs/1", "b": "hf_hub"})) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "model.safetensors").write_bytes(b"\1\2\3"), "model.safetensors is damaged"),
        (lambda run: os.truncate(run / "model.safetensors", 90), "model.safetensors is damaged"),
        (lambda run: (run / "model.safetensors").unlink(), "model.safetensors is damaged or not there"),
        (lambda run: (run / "model.json").write_text("{}"), "model.json"),
        (lambda run: (run / "config.yaml").write_text("mode: tarin"), "config.yaml"),
        (lambda run: (run / "summary.json").write_text('{"status": "failed"}'), "it is not complete"),
    ],
)
def test_a_run_that_is_not_whole_is_not_sent(damage: Callable[[Path], object], said: str) -> None:
    damage(run_of())
    with pytest.raises(UserError, match=said):
        pack(RUN, with_paths=False)


def test_what_cannot_work_is_said_in_one_line_before_anything_is_sent(
    hub: HubServer, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of()

    def refused() -> str:
        ended = command(*PUSH)
        assert ended.code == 2 and ended.err.count("\n") == 1 and not ended.out and not hub.files
        assert "Nothing was sent" in ended.err and not any("create" in one for one in hub.asked)
        return ended.err

    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the token: " in refused()
    monkeypatch.setenv("HF_TOKEN", "hf_tokenfortests")
    hub.refuse = {"/api/validate-yaml": 400}
    assert "the card: " in refused()
    hub.refuse = {"/api/models": 403}
    assert "the repository: " in refused()
    hub.hang = True
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    assert "no answer in 0.2 seconds" in refused()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "no network connection" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", "nowhere")
    assert "there is no token: set HF_TOKEN" in refused()


def test_what_fails_on_the_way_ends_with_3(hub: HubServer, command: Command) -> None:
    run_of()
    hub.refuse = {"/api/models/ann/digits/commit": 403}
    ended = command(*PUSH)
    assert ended.code == 3 and "sending failed" in ended.err and "the same command tries again" in ended.err
    hub.refuse, hub.sha256 = {}, "0" * 64
    ended = command(*PUSH)
    assert ended.code == 3 and "model.safetensors is there with another content than here" in ended.err
    hub.sha256 = file_sha256(RUN / "model.safetensors")
    assert command(*PUSH).code == 0


def test_names_that_no_repository_can_have_are_refused() -> None:
    e = experiment("mode=push", "run=x", "push.to=a-1/b_2.c")
    assert e.push.private
    for name in ("digits", "a/b/c", "./x", "/a/b", "https://hub.example/a/b", "a/b--c", "a/b.git", "a/-", "a/b\n"):
        (_, (wrong, said)) = push_problems(replace(e, push=PushCommand(to=name)))
        assert wrong and "expected <owner>/<name>" in said, name


def test_keys_of_push_are_its_own() -> None:
    with pytest.raises(UserError, match="push: only mode=push reads its keys"):
        experiment("push.to=a/b")
    with pytest.raises(UserError, match=r"push\.to: mode=push needs push\.to=<owner>/<name>"):
        experiment("mode=push", "run=x")
