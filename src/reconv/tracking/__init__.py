"""The only MLflow logging code: one parent run per pipeline run, stages nested in it, trials and seeds in their stage."""
