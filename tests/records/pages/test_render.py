"""What templates make of what comes from data."""

from __future__ import annotations

import pytest

from transfer_cli.records.pages.render import parted


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", ""),
        ("rose", "rose"),
        ("strategy.keep_probe", "strategy.<wbr>keep_<wbr>probe"),
        ("__a--b/c", "__<wbr>a--<wbr>b/<wbr>c"),
        ("<b>_&", "&lt;b&gt;_<wbr>&amp;"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_a_name_breaks_between_its_parts_and_stays_text(name: str, shown: str) -> None:
    assert parted(name) == shown
