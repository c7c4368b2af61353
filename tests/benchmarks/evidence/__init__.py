"""What the defaults are worth: sets of several kinds, against other tools and against a sweep, in one command."""
