"""A page on the loopback address where two classifiers answer the same image side by side. Called by `reconv demo`."""
