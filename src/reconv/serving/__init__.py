"""A classifier as it is used after training: what is kept of it, and how it answers."""
