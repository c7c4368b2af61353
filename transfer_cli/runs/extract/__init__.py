"""strategy=extract: features of a frozen backbone, and a head fitted to them."""
