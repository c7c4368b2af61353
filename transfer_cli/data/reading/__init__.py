"""What sources share: decoding a file, reading tables, folders and archives, and the image set that all end in.

Shapes: N samples, H and W. `Indices` are int64 [N]; a decoded image is RGB, as an array uint8 [H, W, 3].
"""
