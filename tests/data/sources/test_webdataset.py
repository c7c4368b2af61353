import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import dataset
from transfer_cli.data.reading.listing import Listing
from transfer_cli.data.sources.webdataset import load
from transfer_cli.errors import UserError


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), value, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def shard(file: Path, members: dict[str, bytes | str], **options: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, **({"mode": "w"} | options)) as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file


def samples(*numbers: int, label: str = "cls") -> dict[str, bytes | str]:
    members: dict[str, bytes | str] = {}
    for number in numbers:
        members[f"{number:04d}.png"] = png(number)
        members[f"{number:04d}.{label}"] = (
            str(number % 2) if label == "cls" else json.dumps({"label": f"c{number % 2}"})
        )
    return members


def labelled(found: Listing) -> list[tuple[str, str]]:
    return [(key, found.classes[label]) for key, label in zip(found.keys, found.labels, strict=True)]


def test_samples_of_all_shards_in_order(tmp_path: Path) -> None:
    shard(tmp_path / "b" / "1.tar", samples(3, 4))
    shard(tmp_path / "a.tar", samples(0, 1, 2))
    found = load(dataset("webdataset", str(tmp_path)))
    assert labelled(found) == [
        ("a.tar/0000.png", "0"),
        ("a.tar/0001.png", "1"),
        ("a.tar/0002.png", "0"),
        ("b/1.tar/0003.png", "1"),
        ("b/1.tar/0004.png", "0"),
    ]
    assert [found.read(index).getpixel((0, 0))[0] for index in (4, 0, 3)] == [4, 0, 3]
    assert found.encoded is not None
    assert found.encoded.encoded(3) == png(3)
    assert found.encoded.location(3)[0] == str(tmp_path / "b" / "1.tar")
    assert len({found.encoded.location(index) for index in range(5)}) == 5
    assert list(found.splits) == ["train"]


def test_a_pattern_or_a_single_shard(tmp_path: Path) -> None:
    for number in range(3):
        shard(tmp_path / f"s{number}.tar", samples(2 * number, 2 * number + 1))
    assert len(load(dataset("webdataset", tmp_path / "s[01].tar")).keys) == 4
    assert labelled(load(dataset("webdataset", tmp_path / "s2.tar"))) == [
        ("s2.tar/0004.png", "0"),
        ("s2.tar/0005.png", "1"),
    ]


@pytest.mark.parametrize("names", [("x-train-00.tar", "x-val-00.tar"), ("train/0.tar", "validation/0.tar")])
def test_names_of_shards_say_the_split(tmp_path: Path, names: tuple[str, str]) -> None:
    shard(tmp_path / names[0], samples(0, 1))
    shard(tmp_path / names[1], samples(2, 3))
    found = load(dataset("webdataset", str(tmp_path)))
    assert {split: members.tolist() for split, members in found.splits.items()} == {"train": [0, 1], "val": [2, 3]}
    assert "no test images" in found.notes[0]


def test_labels_in_json(tmp_path: Path) -> None:
    file = shard(tmp_path / "s.tar", samples(0, 1, 2, label="json"))
    assert load(dataset("webdataset", str(file))).classes == ("c0", "c1")


def test_another_ending_or_field_for_the_label(tmp_path: Path) -> None:
    file = shard(
        tmp_path / "s.tar",
        {
            "a.png": png(1),
            "a.cls": "0",
            "a.txt": " cat\n",
            "a.json": '{"kind": 7}',
            "b.png": png(2),
            "b.cls": "1",
            "b.txt": "dog",
            "b.json": '{"kind": 8}',
        },
    )
    assert load(dataset("webdataset", str(file), label_column="txt")).classes == ("cat", "dog")
    assert load(dataset("webdataset", str(file), label_column="kind")).classes == ("7", "8")


def test_one_of_several_images(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {}
    for number in (0, 1):
        members |= {f"{number}.png": png(number), f"{number}.mask.png": png(100 + number), f"{number}.cls": str(number)}
    file = shard(tmp_path / "s.tar", members)
    with pytest.raises(UserError, match=r"several images \(png, mask\.png\).*dataset\.image_column"):
        load(dataset("webdataset", str(file)))
    assert load(dataset("webdataset", str(file), image_column="mask.png")).read(1).getpixel((0, 0)) == (101, 101, 101)


def test_keys_may_lie_in_folders_and_be_long(tmp_path: Path) -> None:
    long = "x" * 150 + "größe"
    members = {
        f"{folder}/{long}.{ending}": data for folder in "ab" for ending, data in (("png", png(9)), ("cls", folder))
    }
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        found = load(dataset("webdataset", str(shard(tmp_path / "s.tar", members, format=format))))
        assert found.keys == [f"s.tar/a/{long}.png", f"s.tar/b/{long}.png"]
        assert found.read(1).size == (8, 6)


def test_what_is_no_sample_is_left_out(tmp_path: Path) -> None:
    members = {"__index__.json": "{}", ".hidden": "x", "README": "x", "lone.cls": "1", **samples(0, 1)}
    found = load(dataset("webdataset", str(shard(tmp_path / "s.tar", members))))
    assert len(found.keys) == 2
    assert "1 sample(s) without an image are ignored" in found.notes[0]
    assert "lone" in found.notes[0]


def test_images_without_labels(tmp_path: Path) -> None:
    file = shard(tmp_path / "s.tar", {"a.png": png(0), "b.png": png(1)})
    found = load(dataset("webdataset", file, labels="none"))
    assert (found.classes, found.labels.tolist()) == ((), [-1, -1])


WRONG: dict[str, tuple[dict[str, bytes | str], str]] = {
    "no label": ({**samples(0, 1), "x.png": png(1)}, r"s\.tar:\n  x: no label: neither \.cls nor \.json"),
    "no such field": ({**samples(0, 1), "x.png": png(1), "x.json": '{"kind": 1}'}, "x: .*'label'.*kind.*label_column"),
    "damaged json": ({**samples(0, 1), "x.png": png(1), "x.json": "{"}, r"x: \.json is damaged"),
    "endless json": ({**samples(0, 1), "x.png": png(1), "x.json": "[" * 100_000}, r"x: \.json is damaged"),
    "a list": ({**samples(0, 1), "x.png": png(1), "x.json": '{"label": [1]}'}, "x: label .*a name or a whole number"),
    "empty label": ({**samples(0, 1), "x.png": png(1), "x.cls": " "}, "x: label ' ': a name"),
    "bytes": ({**samples(0, 1), "x.png": png(1), "x.cls": b"\xff\xfe"}, r"x: \.cls is not UTF-8"),
    "key twice": ({"x.png": png(1), "x.cls": "1", "y.png": png(2), "y.cls": "0", "./x.png": png(3)}, "x: occurs twice"),
    "one class": (samples(0, 2), r"only one class \(0\)"),
    "no images": ({"a.txt": "x"}, "no images in 1 shard"),
}


@pytest.mark.parametrize(("members", "told"), WRONG.values(), ids=WRONG.keys())
def test_wrong_samples_are_named(tmp_path: Path, members: dict[str, bytes | str], told: str) -> None:
    file = shard(tmp_path / "s.tar", members)
    with pytest.raises(UserError, match=told):
        load(dataset("webdataset", str(file)))


def test_a_key_that_comes_again_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.tar"
    shard(file, samples(0, 1))
    shard(file, {"0000.png": png(7), "0000.cls": "1"}, mode="a")
    with pytest.raises(UserError, match=r"0000: occurs twice"):
        load(dataset("webdataset", str(file)))


def test_damaged_and_compressed_shards_are_named(tmp_path: Path) -> None:
    file = shard(tmp_path / "s.tar", samples(*range(4)))
    whole = file.read_bytes()
    for content, told in (
        (b"", "damaged"),
        (b"no tar at all" * 99, "damaged"),
        (whole[:1800], "damaged"),
        (b"\x1f\x8b\x08\0" + whole, "compressed"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"s\.tar: .*{told}"):
            load(dataset("webdataset", str(file)))


@pytest.mark.parametrize(
    ("names", "told"),
    [(("train-0.tar", "rest.tar"), "rest.tar: train, val or test"), (("train-val.tar",), "says train and val")],
)
def test_names_that_leave_the_split_open_are_refused(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    for name in names:
        shard(tmp_path / name, samples(0, 1))
    with pytest.raises(UserError, match=told):
        load(dataset("webdataset", str(tmp_path)))


def test_nothing_there_names_the_key(tmp_path: Path) -> None:
    for path in (str(tmp_path), str(tmp_path / "*.tar"), None):
        with pytest.raises(UserError, match=r"dataset\.path"):
            load(dataset("webdataset", path))
