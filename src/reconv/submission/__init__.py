"""The pipeline as a Ray job: sent from outside a cluster's network, followed, and its outputs brought home."""
