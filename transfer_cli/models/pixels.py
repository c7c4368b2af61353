"""How many pixels an image may have, for whoever decodes and for whoever resizes; needs no torch."""

MAX_PIXELS = 178_956_970
"""Pillow's own limit for an error: a header that says more is a mistake or an attack."""
