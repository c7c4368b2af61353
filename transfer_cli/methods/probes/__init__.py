"""Heads fitted on frozen features, trained or in closed form, and what the features alone say of a backbone."""
