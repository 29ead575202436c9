"""Checks that DVC records what a stage used: DVC reads parameters, code and data after a stage has ended, the stage
read them earlier."""
