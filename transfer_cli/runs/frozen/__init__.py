"""What frozen layers make of images, computed once and kept, and heads that are fitted to it."""
