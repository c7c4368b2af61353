"""A trained model on its way to a model hub: what is sent, what stays here, and how it gets there."""
