"""The pictures of the README: what the default experiment prints, and the page that it leaves.

    make pictures        (needs chromium)

Both are made anew from a run; git keeps them in outputs/pictures/.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.browser.opened import CHROMIUM, chromium

FOLDER = Path("outputs/pictures")
COLUMNS = 104
PAGE = (1000, 2500)
# As many colours as a page of few needs.
COLOURS = 128
# Fonts that would be fetched from elsewhere; the names of others stand behind them.
_FETCHED_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> None:
    """Run the default experiment in a folder of its own and take both pictures."""
    browser = chromium()
    if browser is None:
        sys.exit(f"make pictures needs one of {', '.join(CHROMIUM)}.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "transfer_cli", "name=digits"]
        printed = subprocess.run(run, check=True, capture_output=True, text=True, cwd=folder).stdout
        (FOLDER / "run.svg").write_text(drawn("$ transfer-run name=digits\n" + printed), encoding="utf-8")
        photographed(browser, Path(folder, "outputs", "runs", "digits", "report.html"), FOLDER / "report.png")


def drawn(text: str) -> str:
    """Lines of a terminal as SVG that needs nothing else."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(text.rstrip()), soft_wrap=False)
    return _FETCHED_FONTS.sub("", console.export_svg(title="transfer-run", theme=MONOKAI))


def photographed(browser: str, page: Path, picture: Path) -> None:
    """The upper part of a page as PNG."""
    width, height = PAGE
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}"]
    subprocess.run(
        [browser, *words, f"--screenshot={picture.resolve()}", page.as_uri()], check=True, capture_output=True
    )
    with Image.open(picture) as image:
        reduced = image.convert("RGB").quantize(COLOURS)
    reduced.save(picture, optimize=True)


if __name__ == "__main__":
    main()
