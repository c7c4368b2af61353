"""Heads fitted on frozen features, trained or in closed form, and scores of a backbone from its features.

Shapes: N training samples, V validation samples, D feature width, K classes; J heads of a grid.
"""
