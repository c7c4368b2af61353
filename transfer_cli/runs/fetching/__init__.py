"""What mode=fetch brings: weights of models, data sets, and both from an archive."""
