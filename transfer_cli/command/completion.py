"""What the Tab key offers: groups, options, keys and their values, from the YAML files alone, in a tenth of a second.

Hydra's own completion composes a configuration at every key press, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from transfer_cli.command.described import described
from transfer_cli.command.hydra_settings import LAUNCHERS
from transfer_cli.command.overrides import SWEEPERS
from transfer_cli.command.source import ConfigSource, options
from transfer_cli.config.loggers import LOGGERS
from transfer_cli.config.text_keys import choices
from transfer_cli.errors import unknown

FLAGS = ("--help", "--version", "-m", "--cfg", "--config-dir", "--config-path", "--config-name")
_VALUES: dict[str, Sequence[str]] = {
    "hydra/sweeper": SWEEPERS,
    "hydra/launcher": LAUNCHERS,
    "resume": ("never", "auto"),
    "logger": tuple(LOGGERS),
    "trainer.device": ("auto", "cpu", "cuda", "mps"),
}
"""Of keys whose type is text, and of Hydra's groups."""

_BASH = """_transfer_run() {
    local line="${COMP_LINE:0:$COMP_POINT}" words
    local word="${line##* }" IFS=$'\\n'
    words=($(transfer-run --complete $word 2>/dev/null))
    # What stands before the last = is no part of the word to bash, unless it was told so.
    local cut=""
    case "$COMP_WORDBREAKS" in *=*) [[ "$word" == *=* ]] && cut="${word%%=*}=" ;; esac
    COMPREPLY=("${words[@]#"$cut"}")
    if [ ${#COMPREPLY[@]} -eq 0 ]; then
        COMPREPLY=($(compgen -f -- "${word#*=}"))
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=.] ]] && compopt -o nospace 2>/dev/null
}
complete -F _transfer_run transfer-run
"""
_ZSH = """#compdef transfer-run
_transfer_run() {
    local -a found
    found=(${(f)"$(transfer-run --complete "${words[CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then compadd -Q -S '' -- $found; else compset -P '*='; _files; fi
}
compdef _transfer_run transfer-run
"""
_FISH = """function __transfer_run
    set -l word (commandline -ct)
    set -l found (transfer-run --complete $word 2>/dev/null)
    if count $found >/dev/null
        printf '%s\\n' $found
    else if string match -q '*=*' -- $word
        set -l parts (string split -m1 = -- $word)
        printf "$parts[1]=%s\\n" (__fish_complete_path $parts[2] | string replace -r '\\t.*' '')
    else
        __fish_complete_path $word
    end
end
complete -c transfer-run -f -a '(__transfer_run)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(shell: str) -> str:
    """What a shell is to read. Raises UserError for one that is not known."""
    if shell not in _SCRIPTS:
        raise unknown("--completion", shell, _SCRIPTS)
    return _SCRIPTS[shell]


def candidates(source: ConfigSource, word: str) -> list[str]:
    """What a word that was begun may become; nothing for a value that is no choice, such as a path."""
    if word.startswith("-"):
        return _beginning(FLAGS, word)
    prefix = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word[len(prefix) :].partition("=")
    if not equals:
        return [f"{prefix}{one}" for one in _beginning(_keys(source, key), key)]
    # The last of several values of a sweep.
    before, comma, last = value.rpartition(",")
    return [f"{prefix}{key}={before}{comma}{one}" for one in _beginning(_choices(source, key), last)]


def _keys(source: ConfigSource, begun: str) -> list[str]:
    """Groups with =, and keys as far as the next dot, so that one level is offered at a time."""
    found = [f"{group}=" for group in options(source)]
    found += [f"{key}=" for key in _VALUES if "/" in key]
    for rows in described(source).values():
        for row in rows:
            names, depth = row.name.split("."), begun.count(".") + 1
            found.append(f"{row.name}=" if len(names) <= depth else ".".join(names[:depth]) + ".")
    return [one for one in dict.fromkeys(found) if "<" not in one]


def _choices(source: ConfigSource, key: str) -> Iterable[str]:
    groups = options(source)
    if key in groups:
        return groups[key]
    return _VALUES[key] if key in _VALUES else choices(key)


def _beginning(words: Iterable[str], begun: str) -> list[str]:
    return sorted({word for word in words if word.startswith(begun)})
