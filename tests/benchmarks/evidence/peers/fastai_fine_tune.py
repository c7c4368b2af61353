"""fastai's `fine_tune` with its own head, rates, schedule and transforms, as `vision_learner` puts them together.

`vision_learner` fetches its weights itself, so its steps are taken here one by one, with the weights that all have.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.benchmarks.evidence.peers.material import Material, Scores
from transfer_cli.extras import need

_LARGER = 460 / 224
"""What fastai's documentation crops from, "presizing": 460 pixels for 224."""
_BATCH = 32
"""Of ours, so that there are as many steps; half of what fastai takes unasked."""


def fit(material: Material) -> Scores:
    """One epoch for the head and the others for all layers; the last epoch's model is scored, as fastai does."""
    vision: Any = need("fastai.vision.all", "bench", "evidence.methods: fastai")
    network, preprocessing = material.network()
    vision.set_seed(material.seed)
    count = len(vision.get_image_files(material.folder / "train"))
    batches = vision.ImageDataLoaders.from_folder(
        material.folder,
        train="train",
        valid="val",
        item_tfms=vision.Resize(round(material.image_size * _LARGER)),
        batch_tfms=[
            *vision.aug_transforms(size=material.image_size),
            vision.Normalize.from_stats(preprocessing.mean, preprocessing.std),
        ],
        bs=min(_BATCH, count),
        num_workers=0,
        device=material.device,
    )
    model, splitter = _with_head(vision, network.module, material.model, len(material.classes))
    learner = vision.Learner(batches, model.to(material.device), splitter=splitter, metrics=vision.accuracy)
    with learner.no_bar(), learner.no_logging():
        if material.epochs > 1:
            learner.fine_tune(material.epochs - 1)
        else:
            learner.freeze()
            learner.fit_one_cycle(1)
        test = batches.test_dl(vision.get_image_files(material.folder / "test"), with_labels=True)
        return Scores(float(learner.validate()[1]), float(learner.validate(dl=test)[1]))


def _with_head(vision: Any, module: Any, name: str, classes: int) -> tuple[nn.Module, Any]:
    """The network with fastai's head, and how fastai splits it into groups of layers."""
    import torchvision

    learner: Any = need("fastai.vision.learner", "bench", "evidence.methods: fastai")
    if hasattr(module, "reset_classifier"):
        module.reset_classifier(0)
        body = learner.TimmBody(module)
        return learner.add_head(body, module.num_features, classes, pool=body.needs_pool), learner.default_split
    meta = learner.model_meta.get(getattr(torchvision.models, name), learner._default_meta)
    body = learner.create_body(module, cut=meta["cut"])
    width = learner.num_features_model(nn.Sequential(*body.children()))
    return learner.add_head(body, width, classes), meta["split"]
