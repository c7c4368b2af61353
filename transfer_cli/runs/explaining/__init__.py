"""What a trained model looked at: maps of heat over images, and pictures of them."""
