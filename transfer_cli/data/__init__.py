"""Where images come from, how they are split, and how they become batches of uint8 pixels."""
