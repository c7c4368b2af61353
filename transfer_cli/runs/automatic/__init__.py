"""mode=auto: what is tried in a budget of time, what is decided from it, and the model that comes of it."""
