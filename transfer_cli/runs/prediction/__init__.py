"""What mode=predict is made of: which images, their pixels ahead of use, probabilities, rows."""
