"""Augmentation as pure functions of (seed, view, sample).

Shapes: B or N samples, K operations of a policy, H and W (h and w of a source), S the side of a view. Pixels are uint8
arrays [H, W, C], mostly in RGB; boxes are float64 [N, 4]: left, top, right, bottom in pixels.
"""
