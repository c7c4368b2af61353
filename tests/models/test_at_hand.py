"""Models that need no network: from packages, torchvision's downloads and the hub's."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer_cli.models import fetching
from transfer_cli.models.at_hand import models_at_hand
from transfer_cli.models.published import published


def test_downloaded_weights_are_found_smallest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fetching, "hub_folder", lambda: tmp_path / "hub of models")
    before = models_at_hand("auto")
    assert before[0] == "efficientnet_lite0"
    assert all(name.startswith("efficientnet_lite") for name in before)
    for name, size in (("resnet50", 20), ("resnet18", 10)):
        remote = published(name, "torchvision", None).remote
        assert remote is not None
        file = fetching.torch_folder() / remote.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0" * size)
    (fetching.torch_folder() / "of-another-program.pth").write_bytes(b"")
    assert models_at_hand("auto") == [*before, "resnet18", "resnet50"]
    assert models_at_hand("timm") == before


def test_downloads_of_the_hub_count_where_they_are_the_best_of_their_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fetching, "hub_folder", lambda: tmp_path)
    before = models_at_hand("auto")
    for name in ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "vit_tiny_patch16_224.other", "not_a_model.x"):
        (tmp_path / f"models--timm--{name}").mkdir()
    assert models_at_hand("auto") == before, "folders without the file"
    file = tmp_path / "weights"
    file.write_bytes(b"0")
    monkeypatch.setattr(fetching, "cached", lambda remote: file if "vit_tiny" in str(remote) else None)
    assert models_at_hand("auto") == [*before, "vit_tiny_patch16_224"]
