"""Decoded pixels: made once in a first pass, kept on disk, in memory or on the device, or decoded every time."""
