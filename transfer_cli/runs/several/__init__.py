"""Several trainings side by side: what they share, that one may fail, and how they compare."""
