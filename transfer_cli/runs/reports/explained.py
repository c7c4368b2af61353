"""What mode=explain leaves in a run directory: a picture an image, their list, and a page of them."""

from __future__ import annotations

from pathlib import Path

from transfer_cli.errors import first_line
from transfer_cli.files import atomic_write_bytes, write_json
from transfer_cli.records.pages import pictures
from transfer_cli.records.pages.explain_page import Shown
from transfer_cli.rundir import read_json
from transfer_cli.runs.reports.reading import number_in

FOLDER, LIST = "explanations", "explanations.json"


class Explanations:
    """The pictures of one command, which take the place of those of the one before."""

    def __init__(self, directory: Path) -> None:
        """`directory`: of the run."""
        self.folder = directory / FOLDER
        self.shown: list[Shown] = []

    def add(self, png: bytes, path: str, label: str | None, predicted: str, probability: float) -> str:
        """Write a picture; returns its name in the run directory. Raises OSError."""
        if not self.shown:
            self.folder.mkdir(exist_ok=True)
            # A kill leaves no list of an earlier command beside pictures of this one.
            (self.folder / LIST).unlink(missing_ok=True)
        name = _picture(len(self.shown))
        file = self.folder.parent / name
        atomic_write_bytes(file, png)
        self.shown.append(Shown(path, label, pictures.sheet(file)[0], predicted, probability))
        return name

    def close(self) -> None:
        """Write the list; pictures of an earlier command that showed more go. Raises OSError."""
        values = [
            {"image": one.path, "label": one.label, "predicted": one.predicted, "probability": one.probability}
            for one in self.shown
        ]
        write_json(self.folder / LIST, {"shown": values})
        for file in self.folder.glob("[0-9][0-9][0-9].png"):
            if int(file.stem) >= len(self.shown):
                file.unlink()


def _picture(number: int) -> str:
    """Its name in the run directory."""
    return f"{FOLDER}/{number:03d}.png"


def read_explained(directory: Path, most: int, absent: list[str]) -> list[Shown]:
    """The first `most` of the last command's; what cannot be read is left out, and named in `absent`."""
    listed = read_json(directory / FOLDER / LIST).get("shown")
    found = []
    for number, values in enumerate(listed[:most] if isinstance(listed, list) else ()):
        probability = number_in(values, "probability")
        if probability is None or not all(isinstance(values.get(name), str) for name in ("image", "predicted")):
            absent.append(f"{FOLDER}/{LIST} holds something else than explanations.")
            break
        try:
            picture = pictures.sheet(directory / _picture(number))[0]
        except OSError as error:
            absent.append(f"{_picture(number)} {first_line(error)}.")
            continue
        label = values.get("label")
        own = label if isinstance(label, str) else None
        found.append(Shown(values["image"], own, picture, values["predicted"], probability))
    return found
