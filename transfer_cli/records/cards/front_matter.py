"""What a model hub reads of a card: YAML on its top. https://github.com/huggingface/hub-docs/blob/main/modelcard.md"""

from __future__ import annotations

import re
from typing import Any

import yaml

from transfer_cli.models.licenses import OF_THE_HUB, known
from transfer_cli.records.cards.facts import CardFacts
from transfer_cli.records.cards.markdown import plain
from transfer_cli.yaml_files import loaded_yaml

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_METRICS = {"accuracy": ("accuracy", "Accuracy"), "macro_f1": ("f1", "Macro F1")}
"""Of our scores those that the hub knows, and what it calls them."""


_BLOCK = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def card_metadata(card: str) -> dict[str, Any]:
    """The YAML on top of a card that somebody may have edited. Raises ValueError where there is none, or it is none."""
    found = _BLOCK.match(card)
    values = loaded_yaml(found[1]) if found else None
    if not isinstance(values, dict):
        raise ValueError("no block of YAML between two lines of ---")
    return values


def front_matter(facts: CardFacts) -> str:
    """YAML between two lines of dashes; what is not known is left out."""
    s = facts.summary
    tested = [name for name in _METRICS if facts.tested and s["test"].get(name) is not None]
    values: dict[str, Any] = {
        "library_name": "transfer-run",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", *_tags(facts)],
        **_license(s.get("weights_license")),
        "base_model": _repository(s.get("weights_base")),
        "datasets": [one] if (one := _repository(facts.of("dataset").get("hub"))) else None,
        "metrics": [_METRICS[name][0] for name in tested] or None,
        "model-index": _results(facts, tested) if tested else None,
    }
    kept = {key: value for key, value in values.items() if value is not None}
    written = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    return f"---\n{written}---\n"


def _tags(facts: CardFacts) -> list[str]:
    strategy = plain(facts.summary.get("strategy") or "")
    return [
        *([strategy] if strategy else []),
        *(["model-soup"] if str(facts.summary.get("soup") or "").endswith("soup") else []),
    ]


def _license(name: Any) -> dict[str, str]:
    """The licence of the weights that it started from."""
    found = known(name)
    if found is None:
        return {}
    return {"license": found} if found in OF_THE_HUB else {"license": "other", "license_name": found}


def _repository(name: Any) -> str | None:
    return name if isinstance(name, str) and _REPOSITORY.fullmatch(name) else None


def _results(facts: CardFacts, tested: list[str]) -> list[dict[str, Any]]:
    hub, name = _repository(facts.of("dataset").get("hub")), plain(facts.data_name)
    dataset = {"name": name, "type": hub or plain(facts.summary.get("dataset") or name), "split": "test"}
    metrics = [
        {"type": kind, "name": shown, "value": round(float(facts.summary["test"][score]), 6)}
        for score in tested
        for kind, shown in [_METRICS[score]]
    ]
    task = {"type": "image-classification", "name": "Image Classification"}
    return [{"name": plain(facts.name), "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]
