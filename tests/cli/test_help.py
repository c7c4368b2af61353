"""Help and --cfg: complete, and without the heavy imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended
from transfer_cli.command.described import described
from transfer_cli.command.help import EXAMPLES, GROUPS, USUAL
from transfer_cli.command.source import ConfigSource, conf_dir, options
from transfer_cli.config.modes import MODES

SOURCE = ConfigSource(conf_dir(), "config", None)


def test_the_first_page_names_every_group_option_mode_usual_key_and_example(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ended = command("--help")
    assert ended.code == 0
    found = options(SOURCE)
    assert set(found) == set(GROUPS)
    words = ended.out.replace(",", " ").split()
    assert {*(name for names in found.values() for name in names), *MODES} <= {*words}
    assert len(EXAMPLES) == 5
    assert all(example in ended.out for _, example in EXAMPLES)
    keys = {row.name for rows in described(SOURCE).values() for row in rows}
    usual = [key for title in USUAL.values() for key in title]
    assert {*usual} <= keys
    assert {*usual} <= {*words}
    assert len(ended.out.splitlines()) <= 60, "one screen"


def test_what_the_first_page_names_has_a_page_that_says_what_it_is(command: Callable[..., Ended]) -> None:
    modes = [line.split() for line in command("--help", "modes").out.splitlines()]
    assert {*MODES} <= {words[0] for words in modes if len(words) > 2}
    keys = [line.split() for line in command("--help", "keys").out.splitlines()]
    assert {key for title in USUAL.values() for key in title} <= {words[0] for words in keys if words}


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_of_a_group_says_what_every_option_and_key_is(command: Callable[..., Ended], group: str) -> None:
    lines = command("--help", group).out.splitlines()
    for name in options(SOURCE)[group]:
        line = next(line for line in lines if line.split()[:1] == [name])
        assert len(line.split()) > 2, f"{group}={name} has no meaning"
    assert {row.name for row in described(SOURCE)[group]} <= {line.split()[0] for line in lines if line}


def test_the_page_of_an_option_has_its_keys_with_its_values(command: Callable[..., Ended]) -> None:
    out = " ".join(command("trainer=probe", "strategy=extract", "--help").out.split())
    assert "trainer.batch_size Images of a batch; auto: what a GPU has room for [256]" in out
    assert "strategy.solver" in out
    assert "strategy.teacher" not in out


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("mode=predict", ("mode=predict: label images", "needs run=, input=", "predict.top_k")),
        ("sweep", ("many jobs from one command", "sweep.trials", "hydra/sweeper=search", "interval", "submitit_slurm")),
        ("script", ("mode=script: print a training", "format=slurm|loop|cron")),
        ("evaluate", ("mode=evaluate: score trained models", "evaluate.corruptions")),
    ],
)
def test_the_page_of_a_mode_has_its_keys(command: Callable[..., Ended], word: str, says: tuple[str, ...]) -> None:
    ended = command("--help", word)
    assert ended.code == 0
    assert all(one in ended.out for one in says)
    assert "Exit codes" not in ended.out


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("modle", "expected a group, a mode, modes, keys, sweep or all. Did you mean modes or model?"),
        ("strategy=distil", "no such option. Did you mean strategy=distill?"),
        ("mode=predct", "Did you mean predict"),
    ],
)
def test_a_name_that_nothing_has_is_no_other_page(command: Callable[..., Ended], word: str, says: str) -> None:
    ended = command("--help", word)
    assert (ended.code, ended.out) == (2, "")
    assert f"--help {word}: " in ended.err and says in ended.err


def test_all_has_every_page_and_settings_have_none(command: Callable[..., Ended]) -> None:
    everything = command("--help", "all").out
    for word in ("model", "strategy", "predict", "sweep", "modes", "keys"):
        assert command("--help", word).out in everything
    assert command("--help", "optimizer.lr").out == command("--help", "optimizer").out
    assert command("--help", "name=a", "optimizer.lr=1").out == command("--help").out


def test_help_imports_no_hydra() -> None:
    script = (
        "import sys; from transfer_cli.cli import main; main(['--help']); main(['--help', 'strategy']);"
        "print(sorted({'hydra', 'omegaconf', 'yaml'} & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words", [["--help"], ["--help", "strategy"], ["--cfg", "job"], ["model=resnet5"], ["optimizer.lr=-1"]]
)
def test_no_heavy_import(words: list[str]) -> None:
    script = (
        "import sys; from transfer_cli.cli import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'torchvision', 'timm', 'sklearn', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "[]"


def test_own_options_come_from_config_dir(command: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    (tmp_path / "mine" / "optimizer" / "slow.yaml").write_text(
        "# My slow one\nname: sgd\nlr: 1.0e-5\nweight_decay: 0\nmomentum: 0.5\nnesterov: false\n"
    )
    assert "lr: 1.0e-05" in command("--config-dir", "mine", "optimizer=slow", "--cfg", "job", "-p", "optimizer").out
    assert "slow" in command("--config-dir", "mine", "--help").out
    assert "My slow one" in command("--config-dir", "mine", "--help", "optimizer").out
    (tmp_path / "mine" / "optimizer" / "broken.yaml").write_text("lr: 1\nname: [broken\n")
    broken = command("--config-dir", "mine", "optimizer=broken")
    assert broken.code == 2
    assert "broken.yaml, line 3: no YAML" in broken.err
    wrong = command("--config-dir", "mine", "optimizer=slwo")
    assert wrong.code == 2
    assert "slow" in wrong.err
