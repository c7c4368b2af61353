"""mode=export: a file that others load gives the run's logits, with a description and an example that work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.conftest import TINY, Ended, experiment
from transfer_cli.data.batches import unlabelled
from transfer_cli.data.sources.load import load
from transfer_cli.engine.devices.device import Normalize
from transfer_cli.engine.evaluation import predict
from transfer_cli.engine.stop import Stop
from transfer_cli.runs.export import plain
from transfer_cli.runs.saved_model import Trained, load_trained

Command = Callable[..., Ended]
RUN = Path("outputs/runs/tiny")


@pytest.fixture
def run(command: Command) -> Path:
    assert command(*TINY, "trainer.epochs=1", "dataset.samples=120", "name=tiny").code == 0
    return RUN


def trained(run: Path = RUN) -> Trained:
    return load_trained(run, experiment("trainer.device=cpu", "trainer.precision=fp32"))


def pixels_of(count: int, model: Trained, samples: int = 120) -> Tensor:
    """Images of the set that the tiny runs learn from, as the network is to see them: uint8 [N, 3, S, S]."""
    images = load(experiment("dataset=fake", "dataset.num_classes=3", f"dataset.samples={samples}").dataset, 0)
    return torch.stack([model.about.preprocessing.apply(images.read(index)) for index in range(count)])


def logits_of(model: Trained, pixels: Tensor) -> np.ndarray:
    found = predict(model.network, [unlabelled(pixels)], model.compute, model.to_device, Stop())
    assert found is not None
    return found[0]


def alike(found: np.ndarray, expected: np.ndarray) -> bool:
    """Within 1e-4, and within a thousandth of what differs between images: hardly trained logits are small."""
    return bool(np.abs(found - expected).max() < min(1e-4, 1e-3 * float(expected.std(0).max())))


def normalised(model: Trained, pixels: Tensor) -> Tensor:
    p = model.about.preprocessing
    return Normalize(p.mean, p.std, torch.device("cpu"))(pixels).contiguous()


def example_says(folder: Path, *images: str) -> list[list[str]]:
    """What the example prints of each image, in a process that cannot import this project."""
    ended = subprocess.run(
        [sys.executable, "-P", str(folder / "example.py"), *images], capture_output=True, text=True, env={}, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [line.rsplit(" ", 2) for line in ended.stdout.splitlines()]


def predicted(command: Command, run: Path, image: str) -> tuple[str, float]:
    assert command("mode=predict", f"run={run}", "trainer.device=cpu", f"input={image}", "output=one.jsonl").code == 0
    row = json.loads(Path("one.jsonl").read_text())
    return row["label"], row["probability"]


def picture(name: str = "photo.png", size: tuple[int, int] = (51, 38)) -> str:
    small = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(name)
    return name


def test_onnx_with_its_preprocessing_inside_and_in_8_bits(command: Command, run: Path) -> None:
    import onnxruntime

    words = ["mode=export", f"run={run}", "export.preprocessing=true", "export.quantize=int8"]
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert "torch.onnx" not in ended.out and ended.err == ""
    assert "warning: export.quantize=int8 gains next to nothing" in ended.out
    folder = run / "export" / "onnx"
    assert ended.out.splitlines()[-1] == str(folder)
    model = trained()
    pixels = pixels_of(33, model)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": pixels.permute(0, 2, 3, 1).numpy()})
    assert alike(found, logits_of(model, pixels))
    for file in ("model.onnx", "model.int8.onnx"):
        assert b".py" not in (folder / file).read_bytes(), "where Python lies on this machine concerns nobody"
    report = json.loads((folder / "export.json").read_text())
    assert report["compared"]["real"] and report["compared"]["images"] == 100
    assert {"same_label", "accuracy", "accuracy_of_the_run"} < report["int8"].keys()
    assert {(one["model"], one["batch"]) for one in report["latency"]} == {
        (model, batch) for model in ("fp32", "int8") for batch in (1, 8, 64)
    }
    ((_, label, probability),) = example_says(folder, picture())
    expected = predicted(command, run, "photo.png")
    assert label == expected[0] and float(probability) == pytest.approx(expected[1], abs=1e-4)


def test_weights_for_the_librarys_own_constructor(command: Command, run: Path) -> None:
    import timm
    from safetensors.torch import load_file

    model = trained()
    pixels = pixels_of(9, model)
    expected, inputs = logits_of(model, pixels), normalised(model, pixels)
    for form in ("timm", "safetensors"):
        words = ["mode=export", f"run={run}", f"format={form}", "export.latency=false", f"output={form}"]
        assert command(*words).code == 0
    by_path = timm.create_model("test_resnet", num_classes=3, checkpoint_path="timm/model.safetensors")
    by_folder = timm.create_model("local-dir:timm", pretrained=True)
    by_hand = timm.create_model("test_resnet", num_classes=3)
    described = json.loads(Path("safetensors/preprocessing.json").read_text())
    assert described["architecture"] == {"library": "timm", "name": "test_resnet", "arguments": {}}
    by_hand.load_state_dict(load_file("safetensors/model.safetensors"))
    for module in (by_path, by_folder, by_hand):
        assert alike(module.eval()(inputs).detach().numpy(), expected)
    assert described["classes"] == by_folder.pretrained_cfg["label_names"] == [*model.about.classes]


def off_by(difference: float) -> Callable[..., nn.Module]:
    """`plain.construct` of modules whose logits are all a little larger."""
    construct = plain.construct

    def constructed(*arguments: object) -> nn.Module:
        module = construct(*arguments)  # type: ignore[arg-type]
        module.register_forward_hook(lambda module, inputs, logits: logits + difference)
        return module

    return constructed


def test_a_head_that_magnifies_rounding_is_said_with_what_helps(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "construct", off_by(2e-4))
    for standardize in (True, False):
        name = f"name=head_{standardize}"
        probe = ["strategy=extract", "strategy.solver=ridge", f"strategy.standardize={standardize}"]
        assert command(*TINY, *probe, "dataset.samples=60", name).code == 0
        words = ["mode=export", f"run=outputs/runs/head_{standardize}", "format=safetensors", "export.latency=false"]
        ended = command(*words)
        assert ended.code == 3 and "nothing is kept." in ended.err
        assert ("strategy.standardize=false or a larger image_size" in ended.err) == standardize


def test_what_differs_is_not_kept_and_images_come_from_elsewhere(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["mode=export", f"run={run}", "format=safetensors", "export.latency=false"]
    with monkeypatch.context() as patched:
        patched.setattr(plain, "construct", off_by(2e-4))
        ended = command(*words)
    assert ended.code == 3
    assert "logits of 100 of 100 images differ from the run's, by up to 0.0002 where 0.0001 is allowed" in ended.err
    assert not (run / "export").exists()
    assert command(*words).code == 0
    assert command(*words).code == 0  # in the place of the first
    assert {file.name for file in (run / "export").iterdir()} == {"safetensors"}

    Path("photos").mkdir()
    for number in range(3):
        picture(f"photos/{number}.png")
    ended = command(*words, "input=photos")
    assert ended.code == 0 and "compared on 3 images of photos" in ended.out
    config = run / "config.yaml"
    config.write_text(re.sub("name: fake", "name: folder\n  path: gone", config.read_text()))
    gone = command(*words)
    assert gone.code == 0, gone.err
    assert "warning: compared on random pictures, since the images of the run are not there" in gone.out
    assert not json.loads((run / "export/safetensors/export.json").read_text())["compared"]["real"]


def test_what_cannot_be_exported_is_told_before_anything_is_written(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TINY, "strategy=extract", "strategy.solver=knn", "strategy.neighbours=[3]", "name=tiny"]
    assert command(*words).code == 0
    ended = command("mode=export", f"run={RUN}", "format=timm")
    assert ended.code == 2
    assert "its head lets stored training samples vote (k-NN), and test_resnet has no such layers" in ended.err
    ended = command("mode=export", f"run={RUN}", "format=timm", "export.quantize=int8")
    assert ended.code == 2 and "only format=onnx is quantised" in ended.err
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    ended = command("mode=export", f"run={RUN}", "output=mine")
    assert ended.code == 2 and "output=mine: holds files that are of no export (notes.txt)" in ended.err
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    ended = command("mode=export", f"run={RUN}")
    assert ended.code == 2 and "pip install 'transfer-run[export]'" in ended.err
    assert not (RUN / "export").exists() and Path("mine/notes.txt").read_text() == "x"


NETWORKS = {
    "conv": ["model.name=test_resnet", "model.source=timm", "image_size=32"],
    "transformer": ["model.name=test_vit", "model.source=timm", "image_size=32"],
    "torchvision conv": ["model.name=resnet18", "model.source=torchvision", "image_size=32"],
    "torchvision transformer": ["model.name=vit_b_16", "model.source=torchvision", "image_size=32"],
}
METHODS = {
    "finetune": [],
    "lora": ["strategy.adapter=lora"],
    "optimizer": ["strategy=extract", "strategy.solver=optimizer"],
    "mlp": ["strategy=extract", "strategy.solver=optimizer", "strategy.head=mlp", "strategy.hidden=16"],
    "lbfgs": ["strategy=extract", "strategy.solver=lbfgs"],
    "ridge": ["strategy=extract", "strategy.solver=ridge"],
    "ncm": ["strategy=extract", "strategy.solver=ncm"],
    "knn": ["strategy=extract", "strategy.solver=knn", "strategy.neighbours=[5]"],
    "pooled": ["strategy=extract", "strategy.solver=lbfgs", "strategy.pooling=average"],
    "distill": ["strategy=distill", "strategy.teacher.weights=outputs/runs/teacher"],
}
PLAIN = {"finetune", "lora", "optimizer", "lbfgs", "ridge", "distill"}
CASES = [
    (network, method)
    for network in NETWORKS
    for method in METHODS
    if not network.startswith("torchvision") or method in ("finetune", "lbfgs", "knn")
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "method"), CASES)
def test_every_format_agrees_with_the_run_on_100_images(command: Command, network: str, method: str) -> None:
    import onnxruntime

    common = [*TINY, "dataset.samples=600", "trainer.epochs=1", "tune=off", *NETWORKS[network]]
    if method == "distill":
        assert command(*common, "name=teacher").code == 0
    ended = command(*common, *METHODS[method], "name=tiny")
    assert ended.code == 0, ended.err
    model = trained()
    pixels = pixels_of(100, model, samples=600)
    expected, inputs = logits_of(model, pixels), normalised(model, pixels)
    words = ["mode=export", f"run={RUN}", "export.latency=false"]

    assert command(*words, "format=onnx").code == 0
    session = onnxruntime.InferenceSession(RUN / "export/onnx/model.onnx", providers=["CPUExecutionProvider"])
    assert alike(session.run(None, {"images": inputs.numpy()})[0], expected)

    layout = ["export.preprocessing=true", "export.layout=nchw"]
    assert command(*words, "format=torch_export", *layout).code == 0
    file = RUN / "export/torch_export/model.pt2"
    program = torch.export.load(file).module()
    assert alike(program(pixels.contiguous()).detach().numpy(), expected)
    assert b"site-packages" not in file.read_bytes() and b"network.py" not in file.read_bytes()

    for form in ("timm", "safetensors"):
        ended = command(*words, f"format={form}")
        if method not in PLAIN:
            assert ended.code == 2 and f"format={form}: its head" in ended.err
            continue
        assert ended.code == 0, ended.err
        assert alike(fresh(form)(inputs).detach().numpy(), expected)
    image = picture()
    label, probability = predicted(command, RUN, image)
    formats = ["onnx", "torch_export", *(["timm", "safetensors"] if method in PLAIN else [])]
    for folder in [RUN / "export" / form for form in (formats if method == "finetune" else formats[:1])]:
        ((_, said, by_example),) = example_says(folder, image)
        assert said == label and float(by_example) == pytest.approx(probability, abs=2e-4)


def fresh(form: str) -> nn.Module:
    """The model that its library makes of an export, as the description beside it says."""
    import timm
    import torchvision
    from safetensors.torch import load_file

    folder = RUN / "export" / form
    described = json.loads((folder / "preprocessing.json").read_text())
    made, classes = described["architecture"], len(described["classes"])
    if made["library"] == "timm":
        module: nn.Module = timm.create_model(made["name"], num_classes=classes, **made["arguments"])
    else:
        module = torchvision.models.get_model(made["name"], num_classes=classes, **made["arguments"])
    if form == "timm" and made["library"] == "torchvision":
        module.load_state_dict(torch.load(folder / "model.pth", weights_only=True))
    else:
        module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval()


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("share", ["auto", "0.8", "1.2"])
def test_the_example_sees_what_the_run_sees(command: Command, fit: str, share: str) -> None:
    assert command(*TINY, "trainer.epochs=1", f"image_fit={fit}", f"crop_fraction={share}", "name=tiny").code == 0
    words = ["mode=export", f"run={RUN}", "format=safetensors", "export.latency=false"]
    assert command(*words).code == 0
    sizes = [(51, 38), (20, 77), (32, 32), (33, 140)]
    images = [picture(f"{number}.png", size) for number, size in enumerate(sizes)]
    for image, label, probability in example_says(RUN / "export/safetensors", *images):
        expected = predicted(command, RUN, image)
        assert label == expected[0] and float(probability) == pytest.approx(expected[1], abs=1e-4)
