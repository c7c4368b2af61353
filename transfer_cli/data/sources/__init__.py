"""Where images come from: a file a source, with `load(dataset)` and what it expects in `dataset.path`, and load.py.

A new source is a file here, whose name is `dataset.name`, and a YAML in conf/dataset. It returns a `Listing`: N samples
with keys, labels int64 [N], splits, and how to read sample number i.
"""
