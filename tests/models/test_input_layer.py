"""Networks for other channels than RGB: their first convolution has the weights that timm would give it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models import adapt_input_conv
from torch import Tensor

from transfer_cli.errors import UserError
from transfer_cli.models import backbones, weights
from transfer_cli.models.input_layer import adapted, replace_first
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import WeightsSource
from transfer_cli.models.staging import SeenCuts

# Library, name, size, and the convolutions that images go into.
NETWORKS = [
    ("timm", "test_resnet", 32, ["conv1.0"]),
    ("timm", "test_vit", 160, ["patch_embed.proj"]),
    ("torchvision", "mobilenet_v3_small", 64, ["features.0.0"]),
    ("timm", "fastvit_t8", 64, ["stem.0.conv_kxk.0.conv", "stem.0.conv_scale.conv"]),
]
RGB = (0.5, 0.4, 0.3)


def build(name: str, source: str, size: int, channels: int) -> Network:
    return backbones.build(name, source, 3, size, seen=SeenCuts(), channels=channels)


def source_of(path: Path, size: int, channels: int) -> WeightsSource:
    preprocessing = Preprocessing(size, size, "bilinear", RGB, RGB).with_channels(channels)
    return WeightsSource("file", f"weights {path.name}", preprocessing, path)


@pytest.mark.parametrize(("source", "name", "size", "paths"), NETWORKS, ids=[name for _, name, *_ in NETWORKS])
def test_weights_are_adapted_as_timm_does(source: str, name: str, size: int, paths: list[str], tmp_path: Path) -> None:
    rgb = build(name, source, size, 3)
    given = {key: tensor.contiguous() for key, tensor in rgb.module.state_dict().items()}
    save_file(given, tmp_path / "rgb.safetensors")
    for channels in (1, 6):
        network = build(name, source, size, channels)
        weights.load(network, source_of(tmp_path / "rgb.safetensors", size, channels), size)
        own = network.module.state_dict()
        changed = [key for key in own if own[key].shape != given[key].shape]
        assert changed == [f"{path}.weight" for path in paths]
        for key in changed:
            assert own[key].equal(adapt_input_conv(channels, given[key]))
        assert all(own[key].equal(given[key]) for key in own if key not in changed and not key.startswith("fc"))


def test_grey_images_give_what_rgb_of_three_equal_channels_gives(tmp_path: Path) -> None:
    rgb, grey = build("test_resnet", "timm", 32, 3), build("test_resnet", "timm", 32, 1)
    save_file(rgb.module.state_dict(), tmp_path / "rgb.safetensors")
    weights.load(grey, source_of(tmp_path / "rgb.safetensors", 32, 1), 32)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.allclose(grey(image), rgb(image.expand(-1, 3, -1, -1)), atol=1e-5)


def test_weights_of_as_many_channels_stay_what_they_are(tmp_path: Path) -> None:
    donor, network = build("test_resnet", "timm", 32, 4), build("test_resnet", "timm", 32, 4)
    save_file(donor.module.state_dict(), tmp_path / "four.safetensors")
    weights.load(network, source_of(tmp_path / "four.safetensors", 32, 4), 32)
    first = [net.module.state_dict()["conv1.0.weight"] for net in (donor, network)]
    assert first[0].equal(first[1])


def test_a_new_first_convolution_keeps_the_size_of_what_comes_out() -> None:
    for channels in (1, 12):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 512, 7, stride=2, padding=3))
        before = float(module[0].weight.detach().std())
        replace_first("x", module, channels)
        assert module[0].weight.shape == (512, channels, 7, 7) and module[0].stride == (2, 2)
        assert float(module[0].weight.detach().std()) == pytest.approx(before * (3 / channels) ** 0.5, rel=0.05)


def test_channels_are_not_taken_for_colours() -> None:
    network = build("googlenet", "torchvision", 64, 4)
    assert network.module.transform_input is False
    assert build("googlenet", "torchvision", 64, 3).module.transform_input is True


def test_a_first_layer_that_is_no_convolution_is_refused_by_name(tmp_path: Path) -> None:
    class Patches(torch.nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.proj = torch.nn.Linear(16 * channels, 8)

    given: dict[str, Tensor] = Patches(3).state_dict()
    for channels in (1, 4):
        with pytest.raises(UserError, match=f"dataset.channels={channels}: weights x cannot be adapted"):
            adapted("weights x", given, Patches(channels), channels)
    assert adapted("weights x", given, Patches(3), 3) is given


def test_means_are_averaged_for_one_channel_and_repeated_for_more() -> None:
    own = Preprocessing(32, 32, "bilinear", RGB, (0.2, 0.2, 0.2))
    assert own.with_channels(1).mean == (pytest.approx(0.4),)
    assert own.with_channels(4).mean == (*RGB, 0.5)
    assert own.with_channels(3) is own
    assert Preprocessing.from_dict(own.with_channels(6).to_dict()) == own.with_channels(6)
    for mean in ([], [0.5] * 65, [0.5] * 2):
        with pytest.raises(ValueError, match="out of range"):
            Preprocessing.from_dict({**own.to_dict(), "mean": mean})
