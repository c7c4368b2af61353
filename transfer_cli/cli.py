"""The entry point: command line to configuration to mode, and errors to exit codes. Never imports torch."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from transfer_cli import __version__, collector, time_limit
from transfer_cli.command.encoding import restart_in_utf8
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.errors import (
    EXIT_BUG,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_USER,
    RunError,
    Stopped,
    UserError,
    is_out_of_memory,
    of_the_system,
    out_of_memory,
)
from transfer_cli.launched import place_of
from transfer_cli.records.outlet import open_standard_streams, silence, write_error, write_out
from transfer_cli.signals import PREEMPTING, handled

if TYPE_CHECKING:
    from transfer_cli.command.overrides import Overrides

_INFOS = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            raise UserError(f"{message}. See transfer-run --help.")
        near = difflib.get_close_matches(unknown.split("=")[0], flags, n=1, cutoff=0.7)
        hint = f"Did you mean {near[0]}?" if near else "Keys have no dashes: model=resnet50, not --model resnet50."
        raise UserError(f"{unknown}: no such flag. {hint}")


def _parser() -> argparse.ArgumentParser:
    """Hydra's usual flags, under Hydra's names."""
    parser = _Parser(prog="transfer-run", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--package", "-p")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=_INFOS)
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--uninstall", action="store_true")
    parser.add_argument("--query")
    parser.add_argument("--completion")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. One of several processes of a launcher joins the others."""
    words = sys.argv[1:] if argv is None else argv
    _share_the_machine()
    open_standard_streams()

    def work() -> int:
        if argv is not None:
            return dispatch(words)
        # This process is the command.
        restart_in_utf8()
        place = place_of(os.environ)
        if place is None:
            return dispatch(words)
        from transfer_cli.runs.ranks.join import as_rank

        return as_rank(place, lambda: dispatch(words))

    return guarded(work)


def guarded(work: Callable[[], int]) -> int:
    """The exit code of `work`, whatever ends it, after one message where that was an error."""
    try:
        with _preemptible(), time_limit.ended():
            code = work()
            write_out("")
            return code
    except UserError as error:
        return _complain(str(error), EXIT_USER)
    except RunError as error:
        return _complain(str(error), EXIT_FAILED)
    except Stopped as stopped:
        return _complain(str(stopped), stopped.code, heading="stopped")
    except KeyboardInterrupt:
        return _complain("what had been saved is kept", EXIT_INTERRUPTED, heading="interrupted")
    except BrokenPipeError:
        # Whoever read what was asked for has seen enough; a training goes on and never comes here.
        silence(sys.stdout)
        return EXIT_OK
    except Exception as error:
        if is_out_of_memory(error):
            return _complain(out_of_memory(error), EXIT_FAILED)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            # Whoever typed a name of 300 letters, or a path of 5,000.
            return _complain(_refusal(error), EXIT_USER)
        if isinstance(error, OSError) and of_the_system(error):
            return _complain(_refusal(error), EXIT_FAILED)
        traceback.print_exc()
        return _complain(
            "this is a bug in transfer-run; please report it with the traceback above and your command.", EXIT_BUG
        )


def _refusal(error: OSError) -> str:
    where = error.filename2 or error.filename
    return f"{where}: {error.strerror}" if where else f"{error.strerror}"


@contextmanager
def _preemptible() -> Iterator[None]:
    """Signals end what has not begun to train with their exit code, too; training looks after itself.

    One that is ignored stays so: under nohup a closed terminal is meant to change nothing.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Stopped(EXIT_PREEMPTED, "before training began; the same command starts again")

    with handled(PREEMPTING, stop):
        yield


def _share_the_machine() -> None:
    """Threads that wait for each other soon sleep, where the user has not said how they wait.

    By default they spin for milliseconds, at every layer. Where other programs want the cores too that took 5 to 10
    times as long as this (measured: efficientnet_lite0 on two cores, with two to ten other busy processes).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _complain(message: str, code: int, heading: str = "error") -> int:
    from transfer_cli.records.text import printable, shortened

    with contextlib.suppress(RunError, BrokenPipeError):
        write_out("")
    write_error(printable(shortened(f"{heading}: {message}"), sys.stderr.encoding or "utf-8"))
    return code


def dispatch(argv: list[str]) -> int:
    """Do what the words of a command say; returns its exit code."""
    if argv[:1] == ["--complete"]:
        # Of a shell, at a Tab: the word comes as it was begun, and is none for a parser.
        from transfer_cli.command.completion import candidates

        found = candidates(ConfigSource(conf_dir(), "config", None), "".join(argv[1:2]))
        write_out("".join(f"{word}\n" for word in found))
        return EXIT_OK
    args = _parser().parse_intermixed_args(argv)
    source = _config_source(args)
    if args.help:
        from transfer_cli.command.help import help_text

        write_out(help_text(source, args.overrides) + "\n")
        return EXIT_OK
    if args.completion:
        from transfer_cli.command.completion import script

        write_out(script(args.completion))
        return EXIT_OK
    if args.version:
        write_out(f"transfer-run {__version__}\n")
        return EXIT_OK
    from transfer_cli.command.compose import compose, to_plain
    from transfer_cli.command.overrides import Overrides, parse_overrides

    if args.hydra_help or args.shell_completion:
        if not source.is_ours():
            compose(source, Overrides())
        return _ask_hydra(source, args, argv)
    overrides = parse_overrides(args.overrides)
    if args.multirun and (args.cfg or args.info):
        raise UserError("--cfg and --info are about one run; leave -m out, and name one value for each key.")
    if args.multirun:
        return _sweep(source, overrides)
    for word in overrides.of("hydra"):
        if word.startswith(("hydra/launcher", "hydra.launcher")):
            raise UserError(f"{word}: a launcher starts the jobs of a sweep; add -m.")
        if word.startswith("hydra/sweeper"):
            raise UserError(f"{word}: a sweeper proposes the jobs of a sweep; add -m.")
    for word in overrides.of("sweep"):
        if word.startswith(("sweep.folder=", "sweep.jobs_per_device=")):
            continue
        if word.startswith("sweep.objectives=") and "mode=report" in overrides.arguments:
            continue
        raise UserError(f"{word}: only a sweep reads it; add -m.")
    config = compose(source, overrides)
    if args.info or args.cfg in ("hydra", "all"):
        return _ask_hydra(source, args, argv)
    if args.cfg == "job":
        from transfer_cli.command.answers import configuration

        write_out(configuration(config, args.package, resolved=args.resolve))
        return EXIT_OK
    from transfer_cli.config.parse import parse
    from transfer_cli.modes import run_mode

    experiment = parse(to_plain(config))
    time_limit.start(experiment.trainer.time_limit)
    return run_mode(experiment, overrides, source)


def _config_source(args: argparse.Namespace) -> ConfigSource:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the current folder is gone; change to one that exists.") from error
    for flag in ("config_path", "config_dir"):
        folder = getattr(args, flag)
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"--{flag.replace('_', '-')}={folder}: no such folder.")
    path = Path(args.config_path).resolve() if args.config_path else conf_dir()
    name = (args.config_name or "config").removesuffix(".yaml")
    if Path(name).name != name:
        raise UserError(f"--config-name={name}: expected a name, not a path; name the folder with --config-path.")
    if not (path / f"{name}.yaml").is_file():
        raise UserError(f"--config-name={name}: no {name}.yaml in {path}.")
    return ConfigSource(path, name, Path(args.config_dir).resolve() if args.config_dir else None)


def _ask_hydra(source: ConfigSource, args: argparse.Namespace, argv: list[str]) -> int:
    from transfer_cli.command.answers import ask_hydra

    ask_hydra(source, argv, {args.config_path: str(source.path), args.config_dir: str(source.extra)}, write_out)
    return EXIT_OK


def _sweep(source: ConfigSource, overrides: Overrides) -> int:
    """Every job is checked before the first one starts."""
    from transfer_cli.command.batch_script import wanted

    if wanted(overrides):
        from transfer_cli.sweeps.scripted import print_script

        return print_script(source, overrides)
    from transfer_cli.command.grid import compose_grid
    from transfer_cli.sweeps.jobs import jobs_of
    from transfer_cli.sweeps.sweep import run_sweep

    sweeper, overrides = overrides.sweeper()
    if sweeper == "search":
        from transfer_cli.sweeps.search.search import run_search

        collector.settle()
        return run_search(source, overrides)
    collector.settle()
    return run_sweep(source, overrides, jobs_of(compose_grid(source, overrides)))
