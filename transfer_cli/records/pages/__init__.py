"""Pages for people: one self-contained HTML file for a run, for a group of runs, and for a list of them."""
