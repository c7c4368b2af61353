"""What a model cannot do, as far as its own figures say so: each sentence follows from one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from transfer_cli.errors import counted
from transfer_cli.records.cards.facts import CardFacts
from transfer_cli.records.cards.markdown import text
from transfer_cli.records.pages.predicted import most_confused
from transfer_cli.records.pages.render import percent

WIDE = 0.02
"""An interval of accuracy that is worth a word, from its low end to its high one."""
FEW_TESTED, FEW_TRAINED, FEW_TO_CHOOSE_BY = 10, 20, 100
UNBALANCED = 3.0
"""How many times as many images the largest class has as the smallest."""
CONFUSED, OFF = 0.05, 0.05
"""Share of a class that is taken for another, and calibration error, that are worth a word."""
_NAMED = 5


def limits(facts: CardFacts) -> list[str]:
    """Sentences as Markdown; there is always one, since a classifier knows no other classes than its own."""
    parts = (_tested, _of_classes, _confused, _trained, _chosen, _images, _confidence)
    return [sentence for part in parts for sentence in part(facts)]


def _tested(facts: CardFacts) -> Iterator[str]:
    if not facts.tested:
        if facts.images.get("test"):
            yield "Its test images have no labels: how often it is right is not known."
        elif (facts.summary.get("val") or {}).get("accuracy") is not None:
            yield (
                "It was never tested: there are no test images. Validation has chosen among epochs and settings, so "
                "that its scores flatter the model."
            )
        else:
            yield "It was never tested: there are neither test images nor images of validation."
    elif "accuracy" in facts.intervals and facts.predicted is not None:
        low, high = facts.intervals["accuracy"]
        images = int(facts.predicted.known.sum())
        if high - low > WIDE:
            yield (
                f"Accuracy was measured on {counted(images, 'image')}: with so few it may as well be {percent(low)} or "
                f"{percent(high)} (95 % interval), and a model that scores a little more or less may be no other."
            )


def _of_classes(facts: CardFacts) -> Iterator[str]:
    rows = facts.by_class()
    none = [row.name for row in rows if row.images == 0]
    few = [row for row in rows if 0 < row.images < FEW_TESTED]
    if none:
        yield f"No test image is of {_names(none)}."
    if few:
        least = min(few, key=lambda row: row.images)
        yield (
            f"Of {len(rows):,} classes {len(few):,} have fewer than {FEW_TESTED} test images, the fewest "
            f"{least.images} ({text(least.name)}): their own figures say little."
        )
    weak = sorted((row for row in rows if row.images and (row.recall or 0) < 0.5), key=lambda row: row.recall or 0)
    if weak:
        yield f"It finds less than half of the test images of {_names([row.name for row in weak])}."


def _confused(facts: CardFacts) -> Iterator[str]:
    if facts.predicted is None:
        return
    pairs = [
        pair
        for pair in most_confused(facts.predicted.confusion, facts.predicted.classes, 3)
        if pair.count > 1 and pair.share >= CONFUSED
    ]
    if pairs:
        said = ", ".join(
            f"{text(pair.true)} for {text(pair.predicted)} ({pair.count:,} images, {percent(pair.share)} of that class)"
            for pair in pairs
        )
        yield f"Most often it takes {said}."


def _trained(facts: CardFacts) -> Iterator[str]:
    counts = facts.trained_on
    none = [name for name, count in counts.items() if count == 0]
    if none:
        yield f"There was no training image of {_names(none)}."
    there = {name: count for name, count in counts.items() if count}
    if not there:
        return
    least, most = min(there, key=there.__getitem__), max(there, key=there.__getitem__)
    if there[most] >= UNBALANCED * there[least]:
        balanced = (facts.summary.get("test") or {}).get("balanced_accuracy")
        says = "" if balanced is None else f" With every class alike it is {percent(balanced)} (balanced accuracy)."
        yield (
            f"Classes are unbalanced: from {counted(there[least], 'training image')} ({text(least)}) to "
            f"{there[most]:,} ({text(most)}). Accuracy counts the frequent ones more.{says}"
        )
    few = [name for name, count in there.items() if count < FEW_TRAINED]
    if few:
        yield f"Fewer than {FEW_TRAINED} training images are of {_names(few)}."


def _chosen(facts: CardFacts) -> Iterator[str]:
    val = facts.images.get("val")
    if val and val < FEW_TO_CHOOSE_BY:
        yield f"Validation, which chooses among epochs and settings, has {counted(val, 'image')} only."
    skipped = facts.dataset.get("skipped") or []
    if skipped:
        yield f"{counted(len(skipped), 'image')} could not be read and were left out."


def _images(facts: CardFacts) -> Iterator[str]:
    p = facts.model.get("preprocessing") or {}
    size, resized = p.get("crop_pixels"), p.get("resize_pixels")
    if isinstance(size, int):
        yield (
            f"It sees {size} × {size} pixels{_seen(p.get('fit', 'crop'), size, resized)}; smaller detail than that is "
            "lost on it."
        )
    yield (
        f"It knows {len(facts.classes):,} classes and calls every image one of these, an image of something else, too."
    )


def _seen(fit: Any, size: int, resized: Any) -> str:
    """What of an image is in these pixels."""
    if fit == "squash":
        return ", the whole image, squashed to a square where it is none"
    if fit == "pad":
        return ", the whole image, with borders where it is no square"
    if not isinstance(resized, int) or resized <= 0:
        return ""
    share = f"{100 * min(size / resized, 1):.0f} % of the shorter side"
    return f", cut out of the middle of an image ({share}): what lies outside is not seen"


def _confidence(facts: CardFacts) -> Iterator[str]:
    error = (facts.summary.get("test") or {}).get("ece")
    if facts.tested and error is not None and error > OFF and not facts.summary.get("calibration"):
        yield f"Its probabilities are {percent(error)} off on average, see Calibration."


def _names(names: Sequence[str]) -> str:
    """The first few of some classes."""
    more = len(names) - _NAMED
    return ", ".join(map(text, names[:_NAMED])) + (f" and {more:,} more classes" if more > 0 else "")
