"""Words that the modes which use a trained model share."""

from __future__ import annotations

STREAM = "-"
"""As `input` or `output`: standard input, standard output."""
