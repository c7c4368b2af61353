"""Help and --cfg: complete, and without the heavy imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended
from transfer_cli.command.help import EXAMPLES, GROUPS, KEYS
from transfer_cli.command.source import ConfigSource, conf_dir, options


def test_help_names_every_group_option_key_and_example(command: Callable[..., Ended]) -> None:
    ended = command("--help")
    assert ended.code == 0
    found = options(ConfigSource(conf_dir(), "config", None))
    assert set(found) == set(GROUPS)
    for group, names in found.items():
        if not names:
            continue
        section = ended.out.split(f"{group}=<option>:")[1].split("\n\n")[0]
        for name in names:
            line = next(line for line in section.splitlines() if line.split()[:1] == [name])
            assert len(line.split()) > 2, f"{group}={name} has no meaning"
    assert len(EXAMPLES) == 5
    assert all(example in ended.out for _, example in EXAMPLES)
    assert all(key in ended.out for key in KEYS)


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["model=resnet5"], ["optimizer.lr=-1"]])
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
    assert "My slow one" in command("--config-dir", "mine", "--help").out
    (tmp_path / "mine" / "optimizer" / "broken.yaml").write_text("lr: 1\nname: [broken\n")
    broken = command("--config-dir", "mine", "optimizer=broken")
    assert broken.code == 2
    assert "broken.yaml, line 3: no YAML" in broken.err
    wrong = command("--config-dir", "mine", "optimizer=slwo")
    assert wrong.code == 2
    assert "slow" in wrong.err
