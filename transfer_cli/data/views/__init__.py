"""Augmentation as pure functions of (seed, view, sample)."""
