"""The loss that a student is taught with: which stages face each other, and what is learnt beside the student."""

from __future__ import annotations

import torch

from transfer_cli.config.distill import Distill
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.errors import UserError
from transfer_cli.methods.distill.contrast import Contrast
from transfer_cli.methods.distill.distillation import DistillationLoss, needs, terms_that_need
from transfer_cli.methods.distill.output_rows import Layout
from transfer_cli.methods.distill.projections import Projections
from transfer_cli.models.network import Network
from transfer_cli.models.taps import Pairs, Shapes, check_pairs, default_pairs, embedding_stage, observe

KEY = "strategy.pairs"


def build_loss(
    config: Distill, student: tuple[Network, int], teacher: tuple[Network, int], images: ImageSet, seed: int
) -> tuple[DistillationLoss, Layout]:
    """The loss, and how an output of the (first) teacher lies in a row; networks come with their image size in pixels.

    Raises UserError for stages that a network lacks or that cannot be compared, and for more logits than classes.
    """
    needed = needs(config.terms)
    pairs: Pairs = ()
    embeddings, contrast, projections = None, None, None
    shapes: tuple[Shapes, Shapes] = ({}, {})
    torch.manual_seed(seed)
    if needed & {"pairs", "embeddings"}:
        _check_stages(teacher[0])
        shapes = observe(*student), observe(*teacher)
    if "pairs" in needed:
        pairs = _pairs(config, *shapes)
    if "projections" in needed:
        projections = Projections([(shapes[0][ours], shapes[1][theirs]) for ours, theirs in pairs])
    if "embeddings" in needed:
        embeddings = (embedding_stage(shapes[0]), embedding_stage(shapes[1]))
    if "contrast" in needed:
        assert embeddings is not None
        widths = (shapes[0][embeddings[0]][0], shapes[1][embeddings[1]][0])
        samples = len(images.labels), len(images.splits["train"])
        contrast = Contrast(*widths, *samples, seed=seed)
    torch.manual_seed(seed)
    loss = DistillationLoss(
        config.terms,
        config.temperature,
        standardized=config.standardize_logits,
        label_smoothing=config.label_smoothing,
        pairs=pairs,
        embeddings=embeddings,
        projections=projections,
        contrast=contrast,
    )
    features = tuple((name, shapes[1][name]) for name in loss.teacher_stages)
    return loss, Layout(len(images.classes), config.teacher.top_k, features)


def _pairs(config: Distill, ours: Shapes, theirs: Shapes) -> Pairs:
    if config.pairs is not None:
        check_pairs(config.pairs, ours, theirs, KEY)
        return config.pairs
    pairs = default_pairs(ours, theirs)
    if not pairs:
        raise UserError(f"{KEY}: no stages of like depth were found; name them, student {list(ours)}, {list(theirs)}.")
    check_pairs(pairs, ours, theirs, KEY)
    return pairs


def _check_stages(teacher: Network) -> None:
    if teacher.readout is not None:
        raise UserError(
            "strategy.loss: this teacher's head reads pooled stages (strategy=extract with pooling or stages); "
            f"{', '.join(terms_that_need('pairs', 'embeddings'))} need a network that runs stage by stage."
        )
