"""Messages that name what was probably meant."""

from __future__ import annotations

from transfer_cli.errors import did_you_mean, unknown


def test_the_nearest_names_make_a_sentence_to_stand_behind_another() -> None:
    assert did_you_mean("resnet_50", ["resnet50", "vgg"]) == " Did you mean resnet50?"
    assert did_you_mean("epoch", ["epochs", "steps"], "trainer.") == " Did you mean trainer.epochs?"
    assert did_you_mean("epoch", ["vgg"]) == ""


def test_an_unknown_name_is_told_with_the_choices() -> None:
    message = str(unknown("model.weights", "atuo", ["none", "auto"]))
    assert message == "model.weights=atuo: no such choice. Did you mean auto? Choices: auto, none."
