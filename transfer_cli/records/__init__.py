"""What a run tells: metrics, scores, summary, predictions, plots, and the words on the terminal."""
