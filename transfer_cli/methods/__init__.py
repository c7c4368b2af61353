"""Methods as pure functions, each with its source. They know no configuration, no file and no loop."""
