"""Where pages cannot be opened it is said what to install."""

from __future__ import annotations

import pytest

from tests.browser.opened import main, missing


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = missing()
    assert said is not None and "apt install chromium" in said and "'.[browser]'" in said
    with pytest.raises(SystemExit, match="apt install chromium"):
        main()
