"""What a run leaves to go on from: its saved states, and where it diverged."""
