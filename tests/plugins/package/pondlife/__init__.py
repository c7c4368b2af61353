"""A package that adds a backbone, a data set, a strategy and a logger to transfer-run, by entry points."""
