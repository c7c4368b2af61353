"""Backbones of torchvision and timm: built, cut into stages, filled with weights."""
