"""The only MLflow logging code: a parent run per pipeline run, stages nested in it, trials and seeds in their stage."""
