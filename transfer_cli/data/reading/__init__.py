"""What sources share: decoding a file, reading tables and folders, and the listing and image set that all end in.

Arrays: N samples, H, W. An image is RGB; `Indices` are int64 [N].
"""
