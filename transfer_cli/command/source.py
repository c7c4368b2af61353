"""Where the YAML groups lie, which options they have, and Hydra's own composition of them."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

RECIPES = "experiment"
"""The group whose options set keys of all others."""


@dataclass(frozen=True)
class ConfigSource:
    """Where the YAML comes from: the primary config (None: none), and a folder of the user's own options."""

    path: Path
    name: str | None
    extra: Path | None

    def is_ours(self) -> bool:
        """Whether every file is one of the program's."""
        return self.extra is None and self.path == conf_dir()

    def own_folders(self) -> list[Path]:
        """Those of `group_folders` that are the user's."""
        return [folder for folder in self.group_folders() if folder != conf_dir()]

    def group_folders(self) -> list[Path]:
        """Every folder that may hold option groups, the user's own last."""
        return [folder for folder in (self.path, self.extra) if folder is not None]


def conf_dir() -> Path:
    """The folder of our YAML files: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def options(source: ConfigSource) -> dict[str, list[str]]:
    """The options of each group, by group name."""
    groups: dict[str, set[str]] = {}
    for folder in source.group_folders():
        for group in folder.glob("[!._]*/"):
            groups.setdefault(group.name, set()).update(file.stem for file in group.glob("*.yaml"))
    return {group: sorted(names) for group, names in sorted(groups.items())}


def compose_plainly(source: ConfigSource, overrides: list[str], multirun: bool = False) -> DictConfig:
    """Hydra's composition with its own `hydra` node, and Hydra's errors. `multirun`: what the jobs of a sweep share."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import ConfigCompositionException
    from hydra.types import RunMode

    mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(source.path)):
        loader = GlobalHydra.instance().config_loader()
        try:
            return loader.load_configuration(source.name, [search_path(source), *overrides], mode, from_shell=False)
        except UnicodeDecodeError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError, AssertionError, RecursionError, OSError) as error:
            # From a list's index that is no number, a group that is null, a file that holds a single value.
            # No option has a name that is too long for a file.
            if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG):
                raise
            raise ConfigCompositionException(_what_is_wrong(error)) from error


def _what_is_wrong(error: Exception) -> str:
    """The message for what Hydra trips over: its own where it is one for users."""
    if isinstance(error, ValueError | TypeError) and str(error):
        return str(error)
    reason = f" ({error})" if str(error) else ""
    return f"a YAML file gives `hydra`, `defaults` or a group a value of a kind that cannot stand there{reason}."


def search_path(source: ConfigSource) -> str:
    """The override that names every further folder to Hydra, in place of what a file may name."""
    return f"hydra.searchpath=[{quoted(f'file://{source.extra}')}]" if source.extra else "hydra.searchpath=[]"


def quoted(text: str) -> str:
    """Any text as a value in Hydra's grammar, which it comes out of as it was."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text.replace("${", "\\${"), Quote.single).with_quotes()


def launchers(source: ConfigSource) -> list[str]:
    """The launchers of sweeps that are installed."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(source.path)):
        return sorted(GlobalHydra.instance().config_loader().get_group_options("hydra/launcher"))
