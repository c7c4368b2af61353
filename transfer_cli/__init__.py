"""transfer-run: the most accuracy out of a pretrained network for the least compute, from one command."""

__version__ = "0.1.0"
