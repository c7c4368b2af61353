"""Teachers: which network is meant, whether it knows the data set's classes, and its outputs for each sample."""

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

from transfer_cli.cache.entry import Key
from transfer_cli.config.distill import Distill, TeacherOptions
from transfer_cli.config.schema import Experiment, Model
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.evaluation import BATCH_SIZE
from transfer_cli.engine.frozen import Frozen
from transfer_cli.engine.measured.precision import Looked, choose_precision, time_inference
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import RunError, UserError
from transfer_cli.files import file_sha256
from transfer_cli.methods.distill.chance import verdict
from transfer_cli.methods.distill.classes import match_classes
from transfer_cli.methods.distill.output_rows import Layout
from transfer_cli.models import weights
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import SeenWeights, published_classes
from transfer_cli.models.staging import CUTS_VERSION
from transfer_cli.models.taps import forward_taps
from transfer_cli.records.summary import version
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.wilson import interval
from transfer_cli.runs.materials import Materials, open_pixels, pixel_requests
from transfer_cli.runs.pretrained import Pretrained, fetched, with_channels, with_fraction
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
    """A network that only gives outputs. `columns` [K]: which of its logits are the student's classes."""

    name: str
    label: str
    """Its weights, for people."""
    identity: Key
    """All that its logits depend on besides the pixels and the precision."""
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    columns: Tensor
    network: Network
    """On the host until its outputs are first wanted."""
    trained_here: bool
    """Whether it comes from a run directory."""

    def forward(self, layout: Layout, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Images [B, 3, H, W] to outputs [B, layout.width]."""
        network = self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.eval()
        columns, taps = self.columns.to(device), [name for name, _ in layout.features]

        def output(images: Tensor) -> Tensor:
            logits, features = forward_taps(network, images, taps) if taps else (network(images), {})
            return layout.pack(logits[:, columns], features)

        return output

    def frozen(
        self, m: Materials, layout: Layout, reporter: Reporter, stop: Stop, precision: str | None = None
    ) -> Frozen:
        """Its outputs for `m`, whose pixels are in its own preprocessing; `precision` None: it is chosen here."""
        # What earlier versions called the outputs: their cached entries stay valid.
        boundary = f"answers of {self.name}"
        own = {"columns": self.columns.tolist(), "layout": asdict(layout), "boundary": boundary}
        return Frozen(
            identity={**self.identity, **own},
            forward=functools.cache(partial(self.forward, layout, m.device)),
            compute=Compute(m.device, precision or self._precision(m)),
            to_device=m.to_device,
            batch_size=BATCH_SIZE[m.device.type],
            cache=m.machine.cache,
            count=reporter.count,
            stop=stop,
        )

    def materials(self, student: Materials, reporter: Reporter, stop: Stop) -> Materials:
        """The student's images as this teacher wants them; the same decoded pixels where these are the same."""
        none = np.empty(0, np.int64)
        images = replace(student.images, splits={**student.images.splits, "test": none})
        pretrained = replace(student.pretrained, preprocessing=self.preprocessing)
        m = replace(student.with_images(images), pretrained=pretrained)
        if _formats(m) == _formats(student):
            return m
        e, augment = m.experiment, m.augment
        requests = pixel_requests(e, images, self.preprocessing, augment)
        pixels = open_pixels(e, images, requests, m.machine.cache, reporter, stop)
        reporter.say(f"store     for the teacher at {self.preprocessing.crop_pixels} px: {pixels.summary}")
        return replace(m, pixels=pixels)

    def _precision(self, m: Materials) -> str:
        """Its own choice: its outputs must not depend on the student's."""
        size = self.preprocessing.crop_pixels
        work = {"work": "inference", "model": self.name, "image_size": size}
        wanted = m.experiment.trainer.precision

        def look() -> Looked:
            # Where its outputs are computed afterwards.
            network = self.network.to(m.device)
            return time_inference(network, network, size)

        return choose_precision(wanted, m.device, m.machine.precisions, work, look)[0]


def _formats(m: Materials) -> list[Any]:
    """What determines the pixels of a training."""
    requests = pixel_requests(m.experiment, m.images, m.preprocessing, m.augment)
    return [request.format.spec for request in requests]


def load_teachers(
    e: Experiment, config: Distill, images: ImageSet, seen: SeenWeights, reporter: Reporter
) -> list[Teacher]:
    """The teachers whose weights `strategy.teacher.weights` names: run directories, a file, or a library's name.

    Raises UserError for weights that are missing or do not fit, and for classes that are not the data set's. `auto` as
    image size is that of a run, else the experiment's, else that of the weights.
    """
    options = config.teacher
    paths = (options.weights,) if isinstance(options.weights, str) else options.weights
    with _of_teacher():
        return [
            _from_run(e, options, Path(path), images, seen)
            if (Path(path) / "model.json").is_file()
            else _from_weights(e, options, path, images, seen, reporter)
            for path in paths
        ]


def _from_run(e: Experiment, options: TeacherOptions, run: Path, images: ImageSet, seen: SeenWeights) -> Teacher:
    about = describe(run, f"{KEY}.weights")
    if options.model not in (None, about.name):
        raise UserError(f"{KEY}.model={options.model}: the run {run} is of {about.name}; leave {KEY}.model out.")
    if about.channels != e.dataset.channels:
        own, ours = (channels or "null (RGB)" for channels in (about.channels, e.dataset.channels))
        raise UserError(f"{KEY}.weights={run}: was trained with dataset.channels={own}; the student's are {ours}.")
    size = about.preprocessing.crop_pixels if options.image_size == "auto" else options.image_size
    source = weights.resolve(about.name, about.source, str(run))
    assert source.location is not None
    return Teacher(
        name=about.name,
        label=source.label,
        identity=_identity(e, about.name, about.source, file_sha256(source.location), size, about.head.to_dict()),
        preprocessing=about.preprocessing.at(size),
        classes=about.classes,
        columns=_columns(images, about.classes),
        network=build_trained(run, about, size, seen.cuts),
        trained_here=True,
    )


def _from_weights(
    e: Experiment, options: TeacherOptions, path: str, images: ImageSet, seen: SeenWeights, reporter: Reporter
) -> Teacher:
    assert options.model is not None
    source = fetched(weights.resolve(options.model, options.source, path, seen), reporter)
    source = with_channels(e, source, f"{KEY}.weights", reporter)
    size = options.image_size if options.image_size != "auto" else e.image_size
    preprocessing = source.preprocessing if size == "auto" else source.preprocessing.at(size)
    if e.image_fit != "auto" and e.image_fit != "crop":
        preprocessing = preprocessing.fitted(e.image_fit)
    preprocessing = with_fraction(e, preprocessing)
    names = published_classes(source, options.model) or images.classes
    try:
        columns = _columns(images, names)
    except UserError as error:
        raise UserError(
            f"{error} {KEY}: {source.label} know other classes than the data set. {FINETUNE_FIRST}"
        ) from error
    model = Model(options.model, options.source, path)
    network, report = Pretrained(model, source, preprocessing, seen.cuts).build(len(names), e.seed, keep_head=True)
    if source.kind == "file":
        if not report.head_kept:
            raise UserError(f"{KEY}.weights={path}: its head is not for the {len(names)} classes. {FINETUNE_FIRST}")
        if not source.classes:
            reporter.warn(f"{path} does not name its classes; they are taken to be the data set's, in its order")
    random = {"seed": e.seed, "classes": len(names)}
    identity = _identity(e, options.model, options.source, report.sha256 or random, preprocessing.crop_pixels, None)
    return Teacher(options.model, source.label, identity, preprocessing, names, columns, network.eval(), False)


def _identity(e: Experiment, name: str, source: str, weights_id: Any, image_size: int, head: Any) -> Key:
    versions = {package: version(package) for package in ("transfer-run", "torch", "torchvision", "timm")}
    about = {"model": name, "source": source, "weights": weights_id, "image_size": image_size, "head": head}
    about["cuts"] = CUTS_VERSION
    if e.dataset.channels is not None:
        about["channels"] = e.dataset.channels
    return {**about, "versions": versions}


def _columns(images: ImageSet, teacher_classes: tuple[str, ...]) -> Tensor:
    """Without labels the student learns all classes that the teacher knows."""
    classes = images.classes or teacher_classes
    return match_classes(classes, teacher_classes).indices


def check_knowledge(
    teacher: Teacher,
    accuracy: float | None,
    images: ImageSet,
    reporter: Reporter,
    *,
    allow_chance: bool,
    trained_now: bool,
) -> None:
    """Say how good a teacher is on validation. Raises UserError for one that guesses; warns where allowed.

    Where there are too few images to tell, it says in which interval the accuracy lies, and goes on.
    `trained_now`: it was trained for this very command; RunError then.
    """
    reporter.say(
        f"teacher   {teacher.name}: {teacher.label}, {teacher.preprocessing.crop_pixels} px"
        + ("" if accuracy is None else f", validation accuracy {100 * accuracy:.2f} %")
    )
    if accuracy is None:
        reporter.warn("without labelled validation images nobody knows whether the teacher is any good")
        return
    labels = images.labels[images.splits["val"]]
    largest = np.bincount(labels).max() / len(labels)
    found = verdict(accuracy, 1 / largest, len(labels))
    if found == "unclear":
        low, high = interval(accuracy, len(labels))
        reporter.warn(
            f"{KEY}: {teacher.name} is right for {round(accuracy * len(labels))} of {len(labels)} validation images: "
            f"{100 * low:.0f} to {100 * high:.0f} % with 95 % confidence, where guessing gets {100 * largest:.0f} %; "
            "so few cannot tell whether it is any good"
        )
    if found != "guesses":
        return
    what = (
        f"{teacher.name} is right for {100 * accuracy:.2f} % of {len(labels)} validation images, no better than chance "
        "as far as these can tell"
    )
    if not allow_chance:
        advice = TRAIN_LONGER if teacher.trained_here else FINETUNE_FIRST
        # What was trained first for this command is there: the command was no wrong input that left nothing.
        kind = RunError if trained_now else UserError
        raise kind(f"{KEY}: {what}. {advice} {KEY}.allow_chance=true goes on all the same.")
    reporter.warn(f"{KEY}: {what}; the student learns from guesses ({KEY}.allow_chance=true)")


@contextmanager
def _of_teacher() -> Iterator[None]:
    """Errors about a model's keys become errors about the teacher's."""
    try:
        yield
    except UserError as error:
        message = str(error)
        for ours, theirs in (("model.weights", "weights"), ("model.name", "model"), ("image_size=", "image_size=")):
            if message.startswith(ours):
                message = f"{KEY}.{theirs}{message.removeprefix(ours)}"
        raise UserError(message) from error
