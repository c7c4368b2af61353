"""Soups: models of a sweep whose weights, or whose probabilities, are averaged."""
