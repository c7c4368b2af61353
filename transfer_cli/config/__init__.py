"""The typed configuration: schemas, limits, and one function that turns composed values into an `Experiment`."""
