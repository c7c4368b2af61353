"""Frozen work on disk, by content: decoded pixels, activations, teacher outputs. Equal key, equal bytes."""
