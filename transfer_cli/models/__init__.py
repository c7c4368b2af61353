"""Backbones of torchvision and timm: built, cut into stages, filled with weights.

Shapes: B batch, C channels, H and W height and width, N tokens or stored samples, D feature width, K classes.
"""
