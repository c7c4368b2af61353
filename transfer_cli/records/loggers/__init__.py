"""Where else a run is written down, as `logger` says: a file for each, and the thread that they work in."""
