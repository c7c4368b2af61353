"""Decoded pixels: made once in a first pass, kept on disk, in memory or on the device, or decoded every time.

Shapes: B samples, N samples of a set, H and W (h and w where they differ from sample to sample), S the side of an
evaluation image or a view. Pixels are uint8: arrays [.., H, W, C] on the host, tensors [B, C, S, S] in batches.
"""
