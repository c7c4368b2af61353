"""Images, from where they come from to batches of uint8 pixels.

On the way of the data: sources/ (a file a data set: which images there are) -> store/ (decoded once, kept) -> views/
(augmentation) -> batches.py. Imports go one way, and the lowest come first: reading/ (what sources share) and views/
(pure functions) know no other folder here; sources/ and store/ know reading/, and store/ views/ as well; the files
beside the folders know them all.

Shapes here and below: B samples of a batch, N samples of a set, C channels, H and W, S the side of a square image, K
classes. Pixels are uint8, RGB where dataset.channels says nothing else, arrays [B, S, S, C] and tensors [B, C, S, S],
channels last in memory.
"""
