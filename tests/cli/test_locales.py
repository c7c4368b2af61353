"""The locale changes nothing: names of files are UTF-8, in class names, splits and what is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY

LATIN = "de_DE.ISO-8859-1"


@pytest.fixture(params=["ascii", "latin-1"])
def locale(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a locale that is not UTF-8."""
    if request.param == "ascii":
        return {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / LATIN)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the sources of locales")
    return {"LOCPATH": str(tmp_path), "LC_ALL": LATIN}


def ended(code: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *code], capture_output=True, check=False, env={**environment, **more})


def test_words_and_names_are_utf8_in_any_locale(locale: dict[str, str]) -> None:
    Path("größe").mkdir()
    script = (
        "from transfer_cli.command.encoding import restart_in_utf8; import os, sys; restart_in_utf8()\n"
        "print(ascii([os.listdir('.'), sys.argv[1:]]), sys.stdout.encoding, open(os.devnull).encoding)\n"
        "print('\\u732b')"
    )
    found = ended(["-c", script, "a=größe", "b c"], locale)
    names, *rest = found.stdout.decode("latin-1").splitlines()
    assert found.returncode == 0, found.stderr
    assert "gr\\xf6\\xdfe" in names
    assert r"['a=gr\xf6\xdfe', 'b c']" in names
    assert names.lower().endswith("utf-8")
    assert rest == [r"\u732b"]  # the terminal keeps its encoding


def test_without_a_way_to_start_again_the_message_says_what_to_set(locale: dict[str, str]) -> None:
    script = "from transfer_cli import cli; import sys; sys.executable = ''; sys.exit(cli.main())"
    found = ended(["-c", script, "--version"], locale)
    assert found.returncode == 2
    assert b"run the command with PYTHONUTF8=1" in found.stderr


@pytest.mark.slow
def test_a_run_is_the_same_in_any_locale(locale: dict[str, str]) -> None:
    random = np.random.default_rng(0)
    for name in ("größe", "猫"):
        Path("set", name).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(f"set/{name}/ä{number}.png")
    words = ["-m", "transfer_cli", *(word for word in TINY if not word.startswith("dataset")), "dataset=folder"]
    for name, more in (("usual", {"LC_ALL": "C.UTF-8"}), ("other", locale)):
        found = ended([*words, "dataset.path=set", f"name={name}"], more)
        assert found.returncode == 0, found.stderr
    usual, other = (Path("outputs/runs") / name for name in ("usual", "other"))
    assert json.loads((other / "model.json").read_text())["classes"] == ["größe", "猫"]
    for file in ("dataset.json", "predictions.csv", "model.safetensors"):
        assert (usual / file).read_bytes() == (other / file).read_bytes()
