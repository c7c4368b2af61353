"""The reference in the README is what the comments in conf/ say."""

from __future__ import annotations

from pathlib import Path

from transfer_cli.command.reference import reference, with_reference
from transfer_cli.command.source import ConfigSource, conf_dir

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_has_the_reference_that_make_reference_writes() -> None:
    text = README.read_text(encoding="utf-8")
    section = reference(ConfigSource(conf_dir(), "config", None))
    assert section in text, "run `make reference`"
    assert with_reference(text, section) == text


def test_only_the_section_is_replaced() -> None:
    before = "# Title\n\n## Reference\n\nold\n\n### part\n\n## After\n\ntext\n"
    assert with_reference(before, "## Reference\n\nnew \\1\n") == (
        "# Title\n\n## Reference\n\nnew \\1\n\n## After\n\ntext\n"
    )
