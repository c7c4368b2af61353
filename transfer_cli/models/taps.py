"""Features at named stages of a network, in one layout for all families, and which stages of two networks to pair.

A tapped network runs stage by stage, which computes what its plain forward pass computes. No hooks: nothing to remove
after an error, and torch.compile sees ordinary code.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from transfer_cli.errors import UserError, unknown
from transfer_cli.models.network import Network, has_channels_last, prefix_tokens

Shapes = dict[str, tuple[int, ...]]
"""By stage, in order: the shape of its features without the batch, (C, H, W), (C, N) or (D,)."""

Pairs = tuple[tuple[str, str], ...]
"""Student stage and teacher stage."""

MOST_DEPTHS = 4
"""Two networks that keep one resolution throughout are paired at up to this many depths."""


def forward_taps(
    network: Network, inputs: Tensor, names: Collection[str], boundary: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits [B, K], and the features of the named stages as `as_features` lays them out.

    `inputs` is what stage number `boundary` takes: images, or the activations of a frozen prefix, whose stages then
    cannot be tapped.
    """
    found = {}
    for stage in network.stages[boundary:]:
        inputs = stage.run(network.module, inputs)
        if stage.name in names:
            found[stage.name] = as_features(inputs, has_channels_last(network.module), prefix_tokens(network.module))
    assert len(found) == len(set(names)), f"no features of {set(names) - found.keys()} from stage {boundary} on"
    return inputs, found


def as_features(activations: Tensor, channels_last: bool = False, skipped_tokens: int = 0) -> Tensor:
    """One layout for what stages give: maps [B, C, H, W], also of [B, H, W, C], and vectors [B, D] as they are.

    Tokens [B, N, C] lose the first `skipped_tokens` (class token, registers); the rest are maps where they fill a
    square, else [B, C, N].
    """
    if activations.ndim == 4:
        return activations.permute(0, 3, 1, 2) if channels_last else activations
    if activations.ndim == 3:
        tokens = activations[:, skipped_tokens:].transpose(1, 2)
        side = math.isqrt(tokens.shape[2])
        return tokens.unflatten(2, (side, side)) if side * side == tokens.shape[2] else tokens
    return activations


@torch.no_grad()
def observe(network: Network, image_size: int) -> Shapes:
    """The shapes of all stages' features for images of `image_size` pixels; leaves the network in eval mode."""
    network.eval()
    images = torch.zeros(2, network.channels, image_size, image_size, device=next(network.parameters()).device)
    _, features = forward_taps(network, images, [stage.name for stage in network.stages])
    return {name: tuple(feature.shape[1:]) for name, feature in features.items()}


def default_pairs(student: Shapes, teacher: Shapes) -> Pairs:
    """Stages of student and teacher that stand at like depth.

    The last stage of each resolution, from the coarsest up, as far as both go. A network of one resolution (a ViT) is
    cut into as many equal parts as the other has resolutions. Empty where a network has no stage before its pooling.
    """
    ours, theirs = _resolution_ends(student), _resolution_ends(teacher)
    if len(ours) == 1:
        ours = _part_ends(student, len(theirs) if len(theirs) > 1 else MOST_DEPTHS)
    if len(theirs) == 1:
        theirs = _part_ends(teacher, len(ours))
    count = min(len(ours), len(theirs))
    return tuple(zip(ours[len(ours) - count :], theirs[len(theirs) - count :], strict=True))


def embedding_stage(shapes: Shapes) -> str:
    """The stage whose features, averaged over positions, stand for the image: `pool`, or the last before the head.

    Raises UserError for a network that is all head.
    """
    if len(shapes) < 2:
        raise UserError(
            "strategy.loss: this network has no stage before its head whose features could be compared. Take another "
            "model, or set the terms that compare features to 0."
        )
    return list(shapes)[-2]


def check_pairs(pairs: Pairs, student: Shapes, teacher: Shapes, key: str) -> None:
    """Raises UserError for a stage that a network lacks (with the nearest names), and for two that cannot be compared.

    Maps of any sizes can be; features without positions, and tokens on no grid, only with their like.
    """
    for ours, theirs in pairs:
        for whose, name, shapes in (("student", ours, student), ("teacher", theirs, teacher)):
            if name not in shapes:
                raise unknown(f"{key}: {whose} stage", name, shapes)
        mine, other = student[ours], teacher[theirs]
        if mine[1:] != other[1:] and not len(mine) == len(other) == 3:
            raise UserError(
                f"{key}: the student's {ours} has features of shape {_shown(mine)} and the teacher's {theirs} of "
                f"{_shown(other)}: these have no positions in common. Pair stages that both give maps (C, H, W)."
            )


def _shown(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _body(shapes: Shapes) -> list[str]:
    """Stages whose features have positions."""
    return [name for name, shape in shapes.items() if len(shape) > 1]


def _resolution_ends(shapes: Shapes) -> list[str]:
    """The last stage of each resolution, in order."""
    last = {shapes[name][1:]: name for name in _body(shapes)}
    return list(last.values())


def _part_ends(shapes: Shapes, parts: int) -> list[str]:
    """The last stages of `parts` equal parts of the stages behind the stem, or all of them where these are fewer."""
    blocks = [name for name in _body(shapes) if name != "stem"] or _body(shapes)
    parts = min(parts, len(blocks))
    return [blocks[round((part + 1) * len(blocks) / parts) - 1] for part in range(parts)]
