"""The card of one run. https://huggingface.co/docs/hub/model-cards"""

from __future__ import annotations

from transfer_cli.records.cards import sections
from transfer_cli.records.cards.citations import citations
from transfer_cli.records.cards.facts import CardFacts
from transfer_cli.records.cards.front_matter import front_matter
from transfer_cli.records.cards.limits import limits
from transfer_cli.records.cards.markdown import text


def card(facts: CardFacts) -> str:
    """The card as Markdown; the same facts give the same bytes."""
    works = [f"{what[0].upper()}{what[1:]}: {work}" for what, work in citations(facts)]
    parts = {
        "What it is": sections.about(facts),
        "How to use it": sections.use(facts),
        "Data": sections.data(facts),
        "Results": sections.results(facts),
        "Results by class": sections.by_class(facts),
        "Calibration": sections.calibration(facts),
        "Limits": sections.listed(limits(facts)),
        "How it was made": sections.made(facts),
        "Methods": sections.listed(works),
    }
    written = [f"## {title}\n\n{body}" for title, body in parts.items() if body]
    return f"{front_matter(facts)}\n" + "\n\n".join([f"# {text(facts.name)}", sections.lead(facts), *written]) + "\n"
