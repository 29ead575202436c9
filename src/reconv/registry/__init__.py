"""Which model is served, and why: the gate, the ledger of comparisons, versions and champions in MLflow's registry."""
