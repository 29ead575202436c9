"""A registered classifier's answers to any number of images."""
