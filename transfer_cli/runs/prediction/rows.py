"""Rows of predictions, as they come: to a file that is there once it is whole, or to standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.auto import AUTO
from transfer_cli.config.using import STREAM
from transfer_cli.csv_files import csv_line
from transfer_cli.errors import RunError, UserError
from transfer_cli.files import growing_file
from transfer_cli.records.outlet import write_out

UNKNOWN = "unknown"
Row = list[str | float | None]


def columns(top_k: int) -> list[str]:
    """The names of a row's cells: path, label, probability, label_2, probability_2 ..."""
    endings = ["", *(f"_{rank}" for rank in range(2, top_k + 1))]
    return ["path", *(f"{name}{ending}" for ending in endings for name in ("label", "probability"))]


def row_of(
    name: str, probabilities: NDArray[np.float64], classes: tuple[str, ...], top_k: int, threshold: float | None
) -> Row:
    """The likeliest classes of one image, with its probabilities [K]; the first label unknown below the threshold."""
    # Among equals the first, as argmax has it.
    ranked = np.argsort(-probabilities, kind="stable")[:top_k]
    row: Row = [name]
    for label in ranked:
        row += [classes[label], float(probabilities[label])]
    if threshold is not None and probabilities[ranked[0]] < threshold:
        row[1] = UNKNOWN
    return row


def is_jsonl(form: str, output: str | None) -> bool:
    """Whether rows are JSON objects, by `format` and the ending of `output`."""
    ending = Path(output or "").suffix.lower()
    return form == "jsonl" or (form == AUTO and ending in (".jsonl", ".ndjson"))


@contextmanager
def writer(target: str, names: list[str], jsonl: bool) -> Iterator[Callable[[list[Row]], None]]:
    """A function that writes rows to a file, or to standard output (`-`), before it returns.

    Raises UserError where nothing can be written, RunError where nothing more can, and BrokenPipeError where nobody
    reads on.
    """
    header = "" if jsonl else csv_line(names)

    def text(rows: list[Row]) -> str:
        if jsonl:
            # What UTF-8 cannot hold, bytes of a file name, is written as JSON's own escapes.
            return "".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
        return "".join(map(csv_line, rows))

    if target == STREAM:
        write_out(header)
        yield lambda rows: write_out(text(rows))
        return
    with ExitStack() as stack:
        try:
            write = stack.enter_context(growing_file(Path(target)))
        except OSError as error:
            raise UserError(f"output={target}: cannot be written ({error.strerror}).") from error
        try:
            write(header)
            yield lambda rows: write(text(rows))
            stack.close()
        except OSError as error:
            raise RunError(f"output={target}: cannot be written ({error.strerror}).") from error
