"""Names of folders come through Hydra's grammar as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer_cli.command.compose import compose
from transfer_cli.command.overrides import Overrides, parse_overrides
from transfer_cli.command.source import ConfigSource, conf_dir, quoted


@pytest.mark.parametrize("text", ["it's", "a\\", "a\\'b", "a$b {c}, [d]", '"x"', "é"])
def test_quoted_text_is_read_as_it_was(text: str) -> None:
    (found,) = parse_overrides([f"name={quoted(text)}"]).parsed
    assert found.value() == text


def test_interpolations_in_names_are_none() -> None:
    from omegaconf import OmegaConf

    (found,) = parse_overrides([f"name={quoted('${oc.env:HOME}')}"]).parsed
    assert OmegaConf.create({"name": found.value()}).name == "${oc.env:HOME}"


def test_a_folder_of_own_options_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's, [own]"
    (folder / "augment").mkdir(parents=True)
    (folder / "augment" / "mine.yaml").write_text("defaults: [light, _self_]\nflip: 0.25\n")
    assert compose(ConfigSource(conf_dir(), "config", folder), Overrides()).augment.flip != 0.25
    assert compose(ConfigSource(conf_dir(), "config", folder), parse_overrides(["augment=mine"])).augment.flip == 0.25
