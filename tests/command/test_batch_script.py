"""mode=script: it prints a script that a shell takes, starts the command given, and goes on where it stopped."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended
from transfer_cli.command import batch_script
from transfer_cli.errors import UserError

Command = Callable[..., Ended]

STANDS_IN = """#!/bin/sh
# Stands in for the program: writes its words down, and is stopped once.
echo "$@" >> words
[ -e stopped ] && exit ${END:-0}
touch stopped
exit 75
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "transfer-run"
    program.write_text(STANDS_IN)
    program.chmod(0o755)
    monkeypatch.setattr(batch_script, "program", lambda: [str(program)])
    return program


def run_script(text: str, kind: str = "sh", **environment: str) -> int:
    Path("script").write_text(text)
    assert subprocess.run([kind, "-n", "script"], check=False).returncode == 0
    return subprocess.run([kind, "script"], check=False, env={**os.environ, **environment}).returncode


@pytest.mark.parametrize("end", [0, 3])
def test_a_loop_goes_on_until_it_is_done(command: Command, stand_in: Path, end: int) -> None:
    ended = command("mode=script", "format=loop", *TINY, "dataset.name='fake'", "name=a")
    assert ended.code == 0, ended.err
    assert run_script(ended.out, END=str(end)) == end
    first, second = Path("words").read_text().splitlines()
    assert first == second
    assert "mode=" not in first and first.endswith("name=a resume=auto")
    assert first.startswith("model.name=test_resnet")
    assert not Path("outputs").exists()


def test_several_shells_share_a_sweep(command: Command, stand_in: Path) -> None:
    ended = command("-m", "mode=script", "format=loop", "script.tasks=3", *TINY, "seed=0,1,2", "name=a")
    assert ended.code == 0, ended.err
    Path("stopped").touch()
    assert run_script(ended.out) == 0
    words = Path("words").read_text().splitlines()
    assert len(words) == 3 and {*words} == {shlex.join(["-m", *TINY, "seed=0,1,2", "name=a", "resume=auto"])}
    assert run_script(ended.out, END="3") == 3, "one that failed is not lost"


def test_ctrl_c_ends_several_shells_and_what_they_run(command: Command, stand_in: Path) -> None:
    stand_in.write_text(
        "#!/bin/sh\ntrap 'echo saved >> words; exit 75' TERM\ntouch up-$$\nwhile :; do sleep 0.05; done\n"
    )
    ended = command("-m", "mode=script", "format=loop", "script.tasks=2", *TINY, "seed=0,1", "name=a")
    Path("script").write_text(ended.out)
    with subprocess.Popen(["sh", "script"], start_new_session=True) as process:
        while len([*Path().glob("up-*")]) < 2:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) == 130
    assert Path("words").read_text() == "saved\nsaved\n", "each saves once, and starts no more"
    assert len([*Path().glob("up-*")]) == 2


def test_an_array_for_slurm_is_requeued_when_it_was_stopped(command: Command, stand_in: Path) -> None:
    swept = ["optimizer.lr=1e-3,1e-4", "seed=0,1", "trainer.device=cuda", "trainer.devices=2", "trainer.time_limit=90m"]
    own = ["format=slurm", "script.sbatch=--partition=gpu --mem=32G"]
    ended = command("-m", "mode=script", *TINY, *swept, *own, "name=rates")
    assert ended.code == 0, ended.err
    options = re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", ended.out, re.MULTILINE)
    expected = {"job-name": "rates", "array": "0-3", "gpus-per-node": "2", "time": "01:40:00", "partition": "gpu"}
    assert expected.items() <= dict(options).items() and {"requeue", "mem"} <= {name for name, _ in options}
    assert "script." not in ended.out.partition("srun")[2] and ended.out.count("time_limit") == 1
    for name in ("srun", "scontrol"):
        Path(name).write_text('#!/bin/sh\n[ "${0##*/}" = srun ] && exec "$@"\necho "$@" >> requeued\n')
        Path(name).chmod(0o755)
    here = {"PATH": f"{Path.cwd()}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    assert run_script(ended.out, "bash", **here) == 75
    assert Path("requeued").read_text() == "requeue 17\n"
    assert run_script(ended.out, "bash", **here, END="3") == 3
    assert Path("requeued").read_text() == "requeue 17\n", "what failed is not tried for ever"


def test_options_for_slurm_keep_their_blanks(command: Command) -> None:
    more = "--comment='a b' -p gpu --nice"
    ended = command("mode=script", "format=slurm", *TINY, "name=a", f"script.sbatch={more}")
    assert ended.code == 0, ended.err
    lines = [line.removeprefix("#SBATCH ") for line in ended.out.splitlines() if line.startswith("#SBATCH ")]
    assert [shlex.split(line) for line in lines[-3:]] == [["--comment=a b"], ["-p", "gpu"], ["--nice"]]
    for wrong in ("--comment='a b", "gpu", "--comment='a\nb'"):
        with pytest.raises(UserError, match=r"script\.sbatch"):
            batch_script._sbatch_options(wrong)


def test_one_training_for_slurm_gets_a_time_limit_and_no_array(command: Command) -> None:
    ended = command("mode=script", "format=slurm", *TINY, "name=a")
    assert ended.code == 0, ended.err
    assert "--array" not in ended.out and "--gpus" not in ended.out, "trainer.device=cpu"
    assert "--time=04:00:00" in ended.out and "trainer.time_limit=3h50m" in ended.out


def test_a_line_for_cron(command: Command, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("a 100% folder").absolute()
    folder.mkdir()
    monkeypatch.chdir(folder)
    ended = command("mode=script", "format=cron", *TINY, "name=a")
    line = ended.out.splitlines()[-1]
    assert line.startswith("*/10 * * * * ") and "\\%" in line
    (folder / "stopped").touch()
    # What cron does with a line.
    ran = subprocess.run(["sh", "-c", line.removeprefix("*/10 * * * * ").replace("\\%", "%")], env={}, check=False)
    assert ran.returncode == 0
    assert (folder / "words").read_text().count("name=a resume=auto") == 1
    assert (folder / "a.log").exists()


def test_the_places_of_the_users_own_yaml_are_whole(command: Command) -> None:
    Path("own/augment").mkdir(parents=True)
    Path("own/augment/mine.yaml").write_text("defaults: [light, _self_]\nflip: 0.5\n")
    words = [word for word in TINY if not word.startswith("augment")]
    ended = command("mode=script", "format=loop", *words, "augment=mine", "--config-dir", "own", "name=a")
    assert ended.code == 0, ended.err
    assert f"--config-dir={Path('own').absolute()}" in ended.out


def test_a_search_is_shared(command: Command) -> None:
    ended = command("-m", "mode=script", "format=slurm", *TINY, "hydra/sweeper=search", "sweep.trials=9", "name=a")
    assert ended.code == 0, ended.err
    assert "--array=0-3" in ended.out and "hydra/sweeper=search" in ended.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mode=script", "optimizer.lr=-1"], "optimizer.lr=-1"),
        (["-m", "mode=script", "optimizer.lr=1e-3,-1"], "optimizer.lr=-1"),
        (["mode=script", "script.tasks=2"], "script.tasks=2: one training is one process; add -m for a sweep."),
        (["-m", "mode=script", "format=cron", "seed=0,1", "script.tasks=2"], "script.tasks=2: a crontab starts one"),
        (
            ["-m", "mode=script", "seed=0,1", "hydra/launcher=joblib"],
            "hydra/launcher=joblib: the processes of a script",
        ),
        (["mode=script", "format=onnx"], "format=onnx"),
        (["mode=script", "format=loop", "script.sbatch=--mem=3G"], "script.sbatch=--mem=3G: only a script for Slurm"),
        (
            ["mode=script", "format=cron", "strategy.unfreeze=['a\nb']"],
            "format=cron: the command or its",
        ),
        (["mode=script", "resume=outputs/runs/b"], "resume=outputs/runs/b: a script goes on with a training by"),
        (["mode=script", *TINY, "model.name=test_resnt"], "model.name=test_resnt: no such model"),
        (["-m", "mode=script", "seed=0,1", "sweep.trials=9"], "sweep.trials=9: only a search reads it"),
        (["-m", "mode=script", "seed=0,1", "script.tasks=1,2"], "script.tasks=1,2: a script has one value of it"),
        (["-m", "mode=script", "name=a,b"], "name: belongs to the whole sweep"),
        (["script.tasks=2"], "script: only mode=script reads its keys."),
    ],
)
def test_what_is_wrong_is_said_before_it_is_submitted(command: Command, words: list[str], says: str) -> None:
    ended = command(*words)
    assert ended.code == 2 and says in ended.err, ended.out + ended.err
    assert not Path("outputs").exists()
