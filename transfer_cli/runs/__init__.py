"""How a run is made and finished: what it starts from, its prepared job, its final files."""
