"""Trained models on images with labels: their scores, how sure these are, and one model against another."""
