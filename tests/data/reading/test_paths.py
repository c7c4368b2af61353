"""What a source expects in `dataset.path` is checked alike before a run and by the source."""

from pathlib import Path

import pytest

from tests.data.loading import dataset
from transfer_cli.data.reading.paths import ExpectedPath, check_path, missing, path_problem
from transfer_cli.errors import UserError

FOLDER, FILE = ExpectedPath("folder of images"), ExpectedPath("CSV file", kind="file")
SHARDS = ExpectedPath("folder or pattern of .tar", kind="any", pattern=True)
HUB = ExpectedPath("folder or files", kind="any", pattern=True, hub=True)
FETCHED = ExpectedPath("folder that holds the set", download=True)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "list.csv").write_text("path,label\n")
    return tmp_path


@pytest.mark.parametrize(
    ("expected", "path", "told"),
    [
        (FOLDER, "photos", None),
        (FOLDER, "list.csv", "expected a folder of images, found a file"),
        (FOLDER, "photo", "Did you mean photos?"),
        (FOLDER, "zzz/deep", "nearest existing folder is ."),
        (FOLDER, None, "dataset.path is not set: dataset=x needs dataset.path=<folder of images>"),
        (FILE, "list.csv", None),
        (FILE, "photos", "expected a CSV file, found a folder"),
        (SHARDS, "list.*", None),
        (SHARDS, "*.tar", "nothing matches this pattern"),
        (FOLDER, "pho*", "no such file or folder"),
        (HUB, None, "needs one of them"),
        (FETCHED, "zzz", "dataset.download=true makes it and fetches x there"),
        (None, "photos", "reads no files. Say dataset=folder for your own images"),
        (None, None, None),
    ],
)
def test_the_problem_of_a_path(
    here: Path, monkeypatch: pytest.MonkeyPatch, expected: ExpectedPath | None, path: str | None, told: str | None
) -> None:
    monkeypatch.chdir(here)
    problem = path_problem(dataset("x", path), expected)
    assert problem is None if told is None else told in str(problem)


def test_a_name_on_the_hub_or_a_download_needs_no_path_that_exists() -> None:
    assert path_problem(dataset("x", hub="some/set"), HUB) is None
    assert path_problem(dataset("x", "photos", hub="some/set"), HUB) is not None
    assert path_problem(dataset("x", "zzz", download=True), FETCHED) is None


def test_a_source_gets_the_path_or_the_same_message(here: Path) -> None:
    assert check_path(dataset("x", here / "photos"), FOLDER) == here / "photos"
    with pytest.raises(UserError) as raised:
        check_path(dataset("x", here / "list.csv"), FOLDER)
    assert str(raised.value) == path_problem(dataset("x", here / "list.csv"), FOLDER)


def test_the_home_folder_may_be_written_as_a_tilde(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert check_path(dataset("x", "~/photos"), FOLDER) == here / "photos"
    assert missing("input", "~/photos") is None


def test_a_name_may_be_one_in_a_folder_of_its_kind(here: Path) -> None:
    for name in ("mine", "mine-2"):
        (here / "outputs" / "runs" / name).mkdir(parents=True)
    runs = Path("outputs/runs")
    assert missing("run", "mine", runs) == "run=mine: no such file or folder. Did you mean outputs/runs/mine?"
    assert missing("run", "mime-2", runs) == (
        "run=mime-2: no such file or folder. Did you mean outputs/runs/mine-2 or outputs/runs/mine?"
    )
    assert missing("run", "mine") == "run=mine: no such file or folder."
    # What has the very name comes before what lies here and looks like it.
    (here / "mine.log").touch()
    assert missing("run", "mine", runs) == "run=mine: no such file or folder. Did you mean outputs/runs/mine?"


def test_a_dead_link_is_missing_and_not_its_own_likeness(here: Path) -> None:
    (here / "gone").symlink_to(here / "nowhere")
    assert missing("input", str(here / "gone")) == f"input={here}/gone: no such file or folder."


def test_a_file_in_the_way_is_no_folder_to_look_into(here: Path) -> None:
    problem = missing("input", str(here / "list.csv" / "0.png"))
    assert problem == f"input={here}/list.csv/0.png: no such file or folder."
