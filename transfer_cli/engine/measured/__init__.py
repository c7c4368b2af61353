"""What is found out by trying: the fastest precision, the largest batch, a learning rate."""
