"""What we are measured against: each tool with its own settings, on the same weights, size, images and passes."""
