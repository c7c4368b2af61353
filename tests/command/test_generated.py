"""Commands and option files that nobody would write: accepted, or refused in a sentence; never a traceback."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.chaos.campaign.forks import Forks
from tests.chaos.campaign.kills import ended_within, environment
from tests.conftest import TINY, experiment
from transfer_cli.cli import main
from transfer_cli.config.modes import MODES
from transfer_cli.config.parse import to_dict

OPTIONS = {
    "strategy": ["extract", "finetune", "distill"],
    "optimizer": ["sgd", "adamw", "muon", "lamb"],
    "scheduler": ["plateau", "restarts", "onecycle"],
    "augment": ["none", "auto", "strong"],
    "trainer": ["probe"],
    "experiment": ["lora", "probe", "bit"],
    "dataset": ["fake", "folder", "hf"],
}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


KEYS = sorted(
    {
        key
        for words in ([], ["strategy=extract"], ["strategy=distill", "strategy.teacher.weights=x"])
        for key in _flat(to_dict(experiment(*words)))
    }
)
ODD = ["", "null", "-1", "0", "1e400", "nan", "-inf", "[]", "[1,a]", "{a:1}", "'", '"x"', "${seed}", "${x", "???"]
ODD += [
    "a b",
    "é",
    "\x1b[31m",
    "x\ny",
    "=",
    "==",
    "~",
    "+",
    "auto",
    "true",
    "1_000",
    "0x10",
    "1,2",
    "a" * 5000,
    "../..",
]

numbers = st.one_of(st.integers(-5, 5), st.integers(), st.floats()).map(str)
values = st.one_of(st.sampled_from(ODD), numbers, st.sampled_from(["auto", "none", "true"]), st.text(max_size=8))
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(["hydra.run.dir", "seeed", "model", "a.b.c", ""]))
prefixes = st.sampled_from(["", "", "", "", "+", "++", "~"])
chosen = st.sampled_from(sorted(OPTIONS)).flatmap(
    lambda group: st.sampled_from([f"{group}={o}" for o in OPTIONS[group]])
)
modes = st.sampled_from(sorted(MODES)).map(lambda mode: f"mode={mode}")
words = st.one_of(st.builds("{}{}={}".format, prefixes, keys, values), chosen, modes, st.text(max_size=6))
commands = st.lists(words, max_size=5)


# Values that many keys take, so that enough is accepted.
fitting = st.one_of(st.integers(0, 4), st.floats(0, 1), st.booleans()).map(lambda value: str(value).lower())
fitting = st.one_of(fitting, st.sampled_from(["auto", "none", "null", "[0.5,1]", "1e-3", "2"]), values)
trained_keys = st.sampled_from([key for key in KEYS if key not in {word.partition("=")[0] for word in TINY}])
settled = st.builds("{}={}".format, trained_keys, fitting)
acceptable = st.lists(st.one_of(settled, settled, chosen), min_size=1, max_size=4)
SMALL = [*(word for word in TINY if "epochs" not in word), "trainer.epochs=1", "mode=train", "tune=off"]
SMALL += ["dataset.path=null", "name=null", "resume=never"]

plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(ODD), st.text(max_size=6))
trees = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)
files = st.dictionaries(
    st.one_of(st.sampled_from([*OPTIONS, "trainer", "seed", "hydra", "defaults", "_target_"]), st.text(max_size=5)),
    st.one_of(trees, st.dictionaries(st.sampled_from([key.rpartition(".")[2] for key in KEYS]), trees, max_size=3)),
    max_size=4,
)

often = settings(max_examples=3000, deadline=None, database=None, suppress_health_check=[*HealthCheck])
now_and_then = settings(often, max_examples=15, derandomize=True)


def ended(*command: str) -> tuple[int, str]:
    """Exit code and messages of a command that is composed and checked, and printed in place of being run."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*command, "--cfg", "job"])
    return code, err.getvalue()


def check_command(command: list[str]) -> None:
    code, message = ended(*command)
    assert code in (0, 2), message
    assert "Traceback" not in message
    assert message.strip() not in ("error:", "") or code == 0, "a refusal says why"
    assert len(message) < 20_000


def check_file(content: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "experiment", "odd.yaml")
        file.parent.mkdir()
        text = yaml.safe_dump(content, allow_unicode=True)
        file.write_text(f"# @package _global_\n{text}", encoding="utf-8", errors="surrogatepass")
        check_command(["--config-dir", folder, "experiment=odd"])


def repeated(check: Callable[[Any], None], given_what: st.SearchStrategy[Any], how: settings) -> Callable[[], None]:
    return how(given(given_what)(check))


def test_commands() -> None:
    repeated(check_command, commands, now_and_then)()


def test_option_files() -> None:
    repeated(check_file, files, now_and_then)()


def test_an_option_with_a_name_too_long_for_a_file() -> None:
    check_command([f"model={'a' * 5000}"])


@pytest.mark.slow
def test_many_commands() -> None:
    repeated(check_command, commands, often)()


@pytest.mark.slow
def test_many_option_files() -> None:
    repeated(check_file, files, settings(often, max_examples=300))()


@pytest.fixture
def forks() -> Iterator[Forks]:
    found = Forks(1)
    yield found
    found.close()


@pytest.mark.slow
def test_accepted_commands_train(forks: Forks, tmp_path: Path) -> None:
    """An epoch on made-up images: a hundred do; the others say in one sentence why they cannot."""
    seen, trained, others, peak = set[tuple[str, ...]](), 0, Counter[str](), 0

    def train(command: list[str]) -> None:
        nonlocal trained, peak
        own = [word for word in SMALL if word.partition("=")[0] not in {one.partition("=")[0] for one in command}]
        if trained == 100 or tuple(command) in seen or ended(*command, *own)[0] != 0:
            return
        seen.add(tuple(command))
        words = [*command, *own, f"output_dir={tmp_path}/{len(seen)}"]
        with forks.started(words, tmp_path, environment(tmp_path), tmp_path / "output") as forked:
            forked.let_go()
            found = ended_within(120, forked)
        assert found.code in (0, 2, 3) and "Traceback" not in found.output, (words, found)
        assert found.peak_bytes < 2 * 2**30, words
        trained, peak = trained + (found.code == 0), max(peak, found.peak_bytes)
        others.update([found.output.rpartition("error: ")[2][:60]] if found.code else [])

    repeated(train, acceptable, settings(often, max_examples=20_000, phases=[Phase.generate]))()
    print(f"\n{trained} of {len(seen)} accepted commands trained, in at most {peak / 2**30:.2f} GiB")
    print("the others:", *others.items(), sep="\n  ")
    assert trained == 100
