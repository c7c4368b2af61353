"""Methods as pure functions and modules, each with its source. They know no configuration, no file and no loop.

Shapes, where a file does not say otherwise: B batch, C channels, H and W height and width, D feature width, K classes,
N samples of a data set, T temperature. A scalar tensor is [].
"""
