"""Sweeps: many jobs from one command, and the leaderboard that compares them."""
