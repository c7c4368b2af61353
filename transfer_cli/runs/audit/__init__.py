"""An audit of a data set: labels that are likely wrong, and images that are almost the same."""
