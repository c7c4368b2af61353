"""The parts of a card, each Markdown made of the figures of a run; one that has nothing to say is empty."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from transfer_cli.errors import counted
from transfer_cli.records.cards.facts import CardFacts, Facts
from transfer_cli.records.cards.markdown import block, code, table, text
from transfer_cli.records.pages import run_tables, words
from transfer_cli.records.pages.predicted import OfClass
from transfer_cli.records.pages.render import count, number, percent, score, seconds

CLASSES_UP_TO, MATRIX_UP_TO = 20, 30
"""Of more classes the card has the worst and the best, so many in all, and no matrix, which nobody could read."""
HEADS = {
    "linear": "the model's own, one linear layer",
    "probe": "one linear layer on features",
    "mlp": "two layers on features",
    "cosine": "the nearest class mean, by direction",
    "neighbours": "votes of the nearest training images (k-NN)",
}
_SPLITS = {"train": "training", "val": "choosing among epochs and settings", "test": "evaluated once, at the end"}
_VERSIONS = ("python", "transfer-run", "torch", "torchvision", "timm")


def lead(facts: CardFacts) -> str:
    """One sentence: what it is, and how good."""
    s = facts.summary
    how = {"finetune": "finetuned", "extract": "as a frozen backbone with a head of its own", "distill": "distilled"}
    what = f"{code(s.get('model'))}, {how.get(str(s.get('strategy')), text(s.get('strategy')))}"
    if facts.as_it_was:
        what = f"{code(s.get('model'))} as it was, with a head fitted to its features (finetuning did no better)"
    if facts.averaged:
        what = f"{code(s.get('model'))}, {text(facts.averaged)}"
    found = f"A classifier of images into {len(facts.classes):,} classes: {what}, on {text(facts.data_name)}."
    if facts.tested:
        tested = facts.images.get("test") if facts.predicted is None else int(facts.predicted.known.sum())
        images = f" on {counted(tested, 'image')}" if tested else ""
        found += f" Test accuracy {percent(s['test']['accuracy'])}{images}{_within(facts, 'accuracy')}."
    return found


def about(facts: CardFacts) -> str:
    """What it is made of, and what that was before."""
    s, head = facts.summary, facts.model.get("head") or {}
    parameters = s.get("parameters") or {}
    rows: list[tuple[str, str | None]] = [
        ("Strategy", code(s.get("strategy")) + (f", {how}" if (how := _how(facts)) else "")),
        ("Backbone", code(s.get("model"))),
        ("Head", HEADS.get(head["kind"], text(head["kind"])) if head.get("kind") else None),
        (
            "Parameters",
            count(parameters.get("total")) + ("" if facts.as_it_was else f", {_trained(parameters)} trained"),
        ),
        ("Started from", text(s["weights"]) if s.get("weights") else None),
        ("Licence of these weights", _license(s)),
        ("SHA-256 of their file", code(s["weights_sha256"]) if s.get("weights_sha256") else None),
        ("Teacher", _teacher(facts)),
        ("Soup", text(facts.averaged)),
        ("Mixed", text(words.mixture(s) or "")),
        *_input(facts.model),
    ]
    return table(("", ""), [(name, value) for name, value in rows if value])


def _how(facts: CardFacts) -> str:
    """What of the network adapts, or what fits the head."""
    strategy = facts.of("strategy")
    if strategy.get("solver"):
        return f"the head by {text(strategy['solver'])}"
    if facts.as_it_was or strategy.get("name") != "finetune":
        return ""
    part, adapter = strategy.get("unfreeze"), strategy.get("adapter")
    if isinstance(part, list):
        what = f"what is called {', '.join(map(code, part))}"
    else:
        what = {"all": "all layers", "head": "the head alone"}.get(str(part), f"the head and {part} stages below it")
    return what if adapter in (None, "none") else f"{what} by {text(adapter)}"


def _trained(parameters: Facts) -> str:
    total, own = parameters.get("total"), parameters.get("trainable")
    return "all of them" if total == own else f"{count(own) if own else 'none'} of them"


def _license(s: Facts) -> str | None:
    """What is known of the weights that it started from. Whose the images are, no run knows."""
    if not s.get("weights") or str(s["weights"]).startswith("random weights"):
        return None
    known = s.get("weights_license")
    return text(known) if known else "not stated by who published them, or not known to the run: ask before you publish"


def _teacher(facts: CardFacts) -> str | None:
    """Whom a student learnt from; nobody, where the labels alone did better."""
    strategy = facts.of("strategy")
    teacher = strategy.get("teacher")
    if not isinstance(teacher, dict):
        return None
    if strategy.get("use_teacher") is False:
        return "none: it learnt from the labels alone"
    named = teacher.get("weights") if teacher.get("weights") not in (None, "auto") else None
    several = named if isinstance(named, list) else [named]
    said = [code(one) for one in [teacher.get("model"), *several] if one]
    return ", ".join(said) or None


def _input(model: Facts) -> list[tuple[str, str | None]]:
    p = model.get("preprocessing") or {}
    if not p.get("crop_pixels"):
        return []
    channels, size = model.get("channels"), p["crop_pixels"]
    fit = {"crop": "its middle cut out", "squash": "squashed to a square", "pad": "padded to a square"}
    resized = f"resized to {p.get('resize_pixels')} pixels ({text(p.get('interpolation'))})"
    shown = fit.get(str(p.get("fit", "crop")), text(p.get("fit")))
    values = f"divided by 255, less the mean {_numbers(p.get('mean'))}, over the deviation {_numbers(p.get('std'))}"
    kind = "RGB" if channels is None else f"{channels} channels"
    return [("Input", f"{kind}, {size} × {size} pixels"), ("Made of an image", f"{resized}, {shown}; {values}")]


def _numbers(values: Any) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values or ()) + ")"


def use(facts: CardFacts) -> str:
    """Commands that label images with it."""
    images = "photo.jpg" if facts.model.get("channels") is None else "pixels.npy"
    parts = [
        "With transfer-run, in the folder of this file; `input` may also be a folder, and the answer has a line for "
        "each image:",
        block([f"transfer-run mode=predict run=. input={images}", "transfer-run --help predict"], "sh"),
    ]
    if not facts.exports:
        parts += [
            "Without it, once this has written a folder with a model, a description of what is to be done to an image, "
            "and an example; what it writes has been compared with this model:",
            block(["transfer-run mode=export run=. format=onnx"], "sh"),
        ]
    for one in facts.exports:
        compared = one.get("compared") or {}
        parts += [
            f"Without it, as {text(one.get('format'))}; in {text(one.get('precision', 'fp32'))} its logits of "
            f"{count(compared.get('images'))} images are at most {compared.get('largest_difference', 0):.1e} from this "
            "model's:",
            block([shlex.join(["python", f"{one['folder']}/example.py", images])], "sh"),
        ]
    return "\n\n".join(parts)


def data(facts: CardFacts) -> str:
    """What it has learnt from."""
    dataset = facts.of("dataset")
    if not facts.images:
        return ""
    hub, path = dataset.get("hub"), dataset.get("path")
    source = code(facts.summary.get("dataset"))
    if hub or path:
        source += f", {code(hub or path)}"
    counts = [value for value in facts.trained_on.values() if value]
    note = f"Data set {source}: {counted(sum(facts.images.values()), 'image')} of {len(facts.classes):,} classes."
    if counts:
        each = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        note += f" {each} training images a class."
    rows = [(name, count(facts.images[name]), use) for name, use in _SPLITS.items() if name in facts.images]
    return f"{note}\n\n{table(('split', 'images', 'used for'), rows)}"


def results(facts: CardFacts) -> str:
    """Scores of both splits, and how sure those of the test split are."""
    s = facts.summary
    splits = [split for split in ("val", "test") if s.get(split)]
    known = dict.fromkeys(name for split in splits for name, value in s[split].items() if value is not None)
    # Of five classes the first five are always right.
    names = [name for name in known if name != "top5_accuracy" or len(facts.classes) > 5]
    if not names:
        return ""
    called = {"val": "validation", "test": "test"}
    columns = ["score", *(called[split] for split in splits), *(["95 % interval of test"] if facts.intervals else [])]
    rows = []
    for name in names:
        cells = [run_tables.NAMES.get(name, text(name)), *(score(s[split].get(name), name) for split in splits)]
        rows.append([*cells, *([_interval(facts, name)] if facts.intervals else [])])
    epoch = s.get("best_epoch")
    of = text(s["soup"]) if s.get("soup") else f"epoch {epoch}" if epoch and facts.learns else "the model"
    of = "the mixture" if words.mixture(s) else of
    note = f"{of[0].upper()}{of[1:]} was chosen by its {text(s.get('metric') or 'accuracy')} on validation."
    note = note if s.get("val") else ""
    shown = {
        "confusion_matrix.png": "Confusion matrix of the test split" if len(facts.classes) <= MATRIX_UP_TO else "",
        "curves.png": "Curves over the epochs" if facts.learns else "",
    }
    pictures = [f"![{title}](plots/{file})" for file, title in shown.items() if title and file in facts.pictures]
    return "\n\n".join(part for part in [table(columns, rows, right=1), note, *pictures] if part)


def _interval(facts: CardFacts, name: str) -> str:
    if name not in facts.intervals:
        return ""
    low, high = facts.intervals[name]
    return f"{score(low, name)} to {score(high, name)}"


def _within(facts: CardFacts, name: str) -> str:
    return f" (95 % interval {_interval(facts, name)})" if name in facts.intervals else ""


def by_class(facts: CardFacts) -> str:
    """Each class of the test split; of many classes the worst and the best."""
    rows = [row for row in facts.by_class() if row.images]
    if not rows:
        return ""
    note = ""
    if len(rows) > CLASSES_UP_TO:
        half = CLASSES_UP_TO // 2
        ordered = sorted(rows, key=lambda row: (row.f1 or 0, row.recall or 0))
        note = f"The {half} classes of {len(rows):,} with the lowest F1, then the {half} with the highest.\n\n"
        rows = [*ordered[:half], *ordered[-half:]]
    columns = ("class", "most often taken for", "training", "test", "recall", "precision", "F1")
    return note + table(columns, [_of_class(row, facts) for row in rows], right=2)


def _of_class(row: OfClass, facts: CardFacts) -> list[str]:
    taken = "" if row.taken_for is None else f"{text(row.taken_for)} ({row.taken:,})"
    scores = (percent(row.recall), percent(row.precision), number(row.f1))
    return [text(row.name), taken, count(facts.trained_on.get(row.name)), count(row.images), *scores]


def calibration(facts: CardFacts) -> str:
    """Whether its probabilities mean what they say."""
    found = facts.predicted
    if found is None or not facts.tested:
        return ""
    error = facts.summary["test"].get("ece")
    return "" if error is None else words.calibration_note(error, found) + words.temperature_note(facts.summary)


def made(facts: CardFacts) -> str:
    """What repeats it, and what it took."""
    s, command = facts.summary, words.command(facts.environment)
    versions = facts.environment.get("versions") or {}
    whose = "those of its best run" if facts.averaged else "all"
    rows: list[tuple[str, str | None]] = [
        ("On", text(str(facts.environment.get("time") or "").partition("T")[0])),
        ("Seed", text(s["seed"]) if s.get("seed") is not None else None),
        ("Settings", f"{code(s['config_hash'])}, {whose} in config.yaml" if s.get("config_hash") else None),
        ("Epochs", text(s["epochs"]) if s.get("epochs") and facts.learns else None),
        ("Training", seconds(s["train_seconds"]) if s.get("train_seconds") is not None else None),
        ("Device", " at ".join(text(s[key]) for key in ("device", "precision") if s.get(key))),
        ("Versions", ", ".join(f"{text(name)} {text(versions[name])}" for name in _VERSIONS if versions.get(name))),
    ]
    parts = [table(("", ""), [(name, value) for name, value in rows if value])]
    return "\n\n".join([*([block([command], "sh")] if command else []), *parts])


def listed(sentences: Sequence[str]) -> str:
    """Points below one another."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
