"""How many pixels an image may have, for whoever decodes and for whoever resizes; needs no torch."""

MAX_PIXELS = 178_956_970
"""Pillow's own limit for an error: a header that says more is a mistake or an attack, unless dataset.max_pixels allows
it; and then the image is reduced to at most so many."""

MOST_CHANNELS = 64
"""Of an image: more is no picture, or its axes are in another order."""
