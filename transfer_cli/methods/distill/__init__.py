"""Distillation: its losses, the contrastive memory, what is kept of a teacher, and whether it may teach."""
