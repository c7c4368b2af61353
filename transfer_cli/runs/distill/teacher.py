"""Teachers: which network is meant, whether it knows the data set's classes, and what it says about each sample."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfer_cli.cache.entries import Key
from transfer_cli.config.distill import Teacher as TeacherConfig
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.engine.device import Compute
from transfer_cli.engine.frozen import BATCH_SIZE, Frozen
from transfer_cli.engine.precision import choose_precision, time_inference
from transfer_cli.errors import RunError, UserError
from transfer_cli.files import file_sha256
from transfer_cli.methods.distill.chance import is_at_chance
from transfer_cli.methods.distill.classes import match_classes
from transfer_cli.methods.distill.teacher_outputs import Layout
from transfer_cli.models import backbones, weights
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import published_classes
from transfer_cli.models.taps import forward_taps
from transfer_cli.records.summary import version
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import materials as building
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.saved_model import build_trained, describe

KEY = "strategy.teacher"
FINETUNE_FIRST = (
    f"Finetune it on this data set first: {KEY}.finetune=true, or {KEY}.weights=<the run directory of such a run>."
)


TRAIN_LONGER = (
    f"Train it longer or at another rate ({KEY}.epochs, {KEY}.lr where {KEY}.finetune=true), or take a better one."
)


@dataclass(frozen=True)
class Teacher:
    """A network that is only asked. `columns` [K]: which of its logits are the student's classes."""

    name: str
    label: str
    """Its weights, for people."""
    identity: Key
    """All that its logits depend on besides the pixels and the precision."""
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    columns: Tensor
    network: Network
    """On the host until it is first asked."""
    trained_here: bool
    """Whether it comes from a run directory."""

    def forward(self, layout: Layout, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Images [B, 3, H, W] to answers [B, layout.width]."""
        network = self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.eval()
        columns, taps = self.columns.to(device), [name for name, _ in layout.features]

        def answer(images: Tensor) -> Tensor:
            logits, features = forward_taps(network, images, taps) if taps else (network(images), {})
            return layout.pack(logits[:, columns], features)

        return answer

    def frozen(self, materials: Materials, layout: Layout, reporter: Reporter) -> Frozen:
        """Its answers to `materials`, which are in its own preprocessing."""
        device = materials.device
        boundary = f"answers of {self.name}"
        return Frozen(
            identity={
                **self.identity,
                "columns": self.columns.tolist(),
                "layout": asdict(layout),
                "boundary": boundary,
            },
            forward=functools.cache(partial(self.forward, layout, device)),
            compute=Compute(device, self._precision(materials)),
            place=materials.place,
            batch_size=BATCH_SIZE[device.type],
            cache=materials.cache,
            count=reporter.count,
        )

    def materials(self, student: Materials, reporter: Reporter) -> Materials:
        """The student's images as this teacher wants them; the same decoded pixels where these are the same."""
        none = np.empty(0, np.int64)
        images = replace(student.images, splits={**student.images.splits, "test": none})
        m = replace(student, images=images, preprocessing=self.preprocessing)
        forms = [[want.format.spec for want in building.training_wants(one)] for one in (student, m)]
        if forms[0] == forms[1]:
            return m
        wants = building.training_wants(m)
        opened: DecodedSet = building.open_pixels(m.experiment, images, wants, m.cache, reporter)
        reporter.say(f"store     for the teacher at {self.preprocessing.crop_pixels} px: {opened.summary}")
        return replace(m, opened=opened)

    def _precision(self, materials: Materials) -> str:
        """Its own choice: what it says must not depend on the student's."""
        m, size = materials, self.preprocessing.crop_pixels
        work = {"work": "inference", "model": self.name, "image_size": size}
        wanted = m.experiment.trainer.precision
        return choose_precision(wanted, m.device, m.precision_memory, work, lambda: time_inference(self.network, size))[
            0
        ]


def load_teacher(config: TeacherConfig, path: str, materials: Materials, reporter: Reporter) -> Teacher:
    """The teacher whose weights are `path`: a run directory, a file, or a name that the libraries know.

    Raises UserError for weights that are missing or do not fit, and for classes that are not the data set's. `auto` as
    image size is that of a run, else the experiment's, else that of the weights.
    """
    with _of_teacher():
        if (Path(path) / "model.json").is_file():
            return _from_run(config, Path(path), materials)
        return _from_weights(config, path, materials, reporter)


def _from_run(config: TeacherConfig, run: Path, materials: Materials) -> Teacher:
    about = describe(run, f"{KEY}.weights")
    if config.model not in (None, about.name):
        raise UserError(f"{KEY}.model={config.model}: the run {run} is of {about.name}; leave {KEY}.model out.")
    size = about.preprocessing.crop_pixels if config.image_size == "auto" else config.image_size
    source = weights.resolve(about.name, about.source, str(run))
    assert source.location is not None
    return Teacher(
        name=about.name,
        label=source.label,
        identity=_identity(about.name, about.source, file_sha256(source.location), size, about.head.to_dict()),
        preprocessing=about.preprocessing.at(size),
        classes=about.classes,
        columns=_columns(materials, about.classes),
        network=build_trained(run, about, size),
        trained_here=True,
    )


def _from_weights(config: TeacherConfig, path: str, materials: Materials, reporter: Reporter) -> Teacher:
    m, seed = materials, materials.experiment.seed
    assert config.model is not None
    source = building.fetched(weights.resolve(config.model, config.source, path, m.known), reporter)
    size = config.image_size if config.image_size != "auto" else m.experiment.image_size
    preprocessing = source.preprocessing if size == "auto" else source.preprocessing.at(size)
    names = published_classes(source, config.model) or m.images.classes
    try:
        columns = _columns(m, names)
    except UserError as error:
        raise UserError(
            f"{error} {KEY}: {source.label} know other classes than the data set. {FINETUNE_FIRST}"
        ) from error
    torch.manual_seed(seed)
    network = backbones.build(config.model, config.source, len(names), image_size=preprocessing.crop_pixels)
    report = weights.load(network, source, preprocessing.crop_pixels, keep_head=True)
    torch.manual_seed(seed)
    if source.kind == "file":
        if not report.head_kept:
            raise UserError(f"{KEY}.weights={path}: its head is not for the {len(names)} classes. {FINETUNE_FIRST}")
        reporter.warn(f"{path} does not name its classes; they are taken to be the data set's, in its order")
    random = {"seed": seed, "classes": len(names)}
    identity = _identity(config.model, config.source, report.sha256 or random, preprocessing.crop_pixels, None)
    return Teacher(config.model, source.label, identity, preprocessing, names, columns, network.eval(), False)


def _identity(name: str, source: str, weights_id: Any, image_size: int, head: Any) -> Key:
    versions = {package: version(package) for package in ("transfer-run", "torch", "torchvision", "timm")}
    about = {"model": name, "source": source, "weights": weights_id, "image_size": image_size, "head": head}
    return {**about, "versions": versions}


def _columns(materials: Materials, teacher_classes: tuple[str, ...]) -> Tensor:
    """Without labels the student learns all classes that the teacher knows."""
    classes = materials.images.classes or teacher_classes
    return match_classes(classes, teacher_classes).indices


def check_knowledge(
    teacher: Teacher,
    accuracy: float | None,
    materials: Materials,
    reporter: Reporter,
    *,
    allow_chance: bool,
    rehearsed: bool,
) -> None:
    """Say how good a teacher is on validation. Raises UserError for one that guesses; warns where allowed.

    `rehearsed`: it was trained for this very command; RunError then.
    """
    m = materials
    reporter.say(
        f"teacher   {teacher.name}: {teacher.label}, {teacher.preprocessing.crop_pixels} px"
        + ("" if accuracy is None else f", validation accuracy {100 * accuracy:.2f} %")
    )
    if accuracy is None:
        reporter.warn("without labelled validation images nobody knows whether the teacher is any good")
        return
    labels = m.images.labels[m.images.splits["val"]]
    largest = np.bincount(labels).max() / len(labels)
    if not is_at_chance(accuracy, 1 / largest, len(labels)):
        return
    what = (
        f"{teacher.name} is right for {100 * accuracy:.2f} % of {len(labels)} validation images, no better than chance "
        "as far as these can tell"
    )
    if not allow_chance:
        advice = TRAIN_LONGER if teacher.trained_here else FINETUNE_FIRST
        # What was trained first for this command is there: the command was no wrong input that left nothing.
        kind = RunError if rehearsed else UserError
        raise kind(f"{KEY}: {what}. {advice} {KEY}.allow_chance=true goes on all the same.")
    reporter.warn(f"{KEY}: {what}; the student learns from guesses ({KEY}.allow_chance=true)")


@contextmanager
def _of_teacher() -> Iterator[None]:
    """Errors about a model's keys, told as errors about the teacher's."""
    try:
        yield
    except UserError as error:
        message = str(error)
        for ours, theirs in (("model.weights", "weights"), ("model.name", "model"), ("image_size=", "image_size=")):
            if message.startswith(ours):
                message = f"{KEY}.{theirs}{message.removeprefix(ours)}"
        raise UserError(message) from error
