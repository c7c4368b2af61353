"""What timm's train.py does with --pretrained and nothing else said: timm's own optimizer, schedule and transforms.

Its defaults (timm 1.0): SGD with momentum 0.9, weight decay 2e-5, a rate of 0.1 for every 256 images of a batch, cosine
to 0, label smoothing 0.1, crops of 8 to 100 % of the area, flips, colour jitter 0.4, interpolation at random. For
fine-tuning on other images its author advises a tenth of the rate (issue 25 of pytorch-image-models): `timm_tenth`.
"""

from __future__ import annotations

from tests.benchmarks.evidence.peers.loop import Settings
from tests.benchmarks.evidence.peers.loop import fit as fit_loop
from tests.benchmarks.evidence.peers.material import Material, Scores

_BATCH = 32
"""Of ours, so that there are as many steps; the rate follows the batch, as it does in train.py."""


def fit(material: Material, rate: float) -> Scores:
    """Train with a rate of `rate` for every 256 images of a batch."""
    from timm.data.transforms_factory import create_transform
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler

    network, preprocessing = material.network()
    optimizer = create_optimizer_v2(network.module, opt="sgd", lr=rate * _BATCH / 256, weight_decay=2e-5, momentum=0.9)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=material.epochs,
        # Five epochs of 300 there; five of eight would leave nothing to train in.
        warmup_t=min(5, material.epochs // 10),
        warmup_lr_init=1e-5,
    )
    transform = create_transform(
        material.image_size,
        is_training=True,
        color_jitter=0.4,
        interpolation="random",
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    settings = Settings(transform, _BATCH, LabelSmoothingCrossEntropy(0.1), optimizer, scheduler.step)
    return fit_loop(material, network.module, preprocessing, settings)
