"""Distillation: losses and terms, the contrastive memory, teacher outputs as rows, checks of a teacher.

Shapes: B batch, K classes, R teachers, D feature width, M negatives, T temperature.
"""
