"""What sources share: decoding a file, reading tables, folders and archives, and the image set that all end in.

Shapes: N samples, H and W, C channels. `Indices` are int64 [N]; a decoded image is RGB or what dataset.channels
says, as an array uint8 [H, W, C].
"""
