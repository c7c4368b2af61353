"""What one step of the loop is made of: its batch on the device, its check, its second try."""
