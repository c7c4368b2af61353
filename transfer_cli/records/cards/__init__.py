"""The model card of a run: what a stranger has to know of its model, as Markdown that a model hub shows."""
