"""The device of a run: which one, what is known of it, and how memory is used."""
