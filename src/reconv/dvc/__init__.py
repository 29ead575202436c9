"""What DVC records of a stage, held against what the stage used. DVC reads parameters, code and data after a stage has
ended; the stage read them earlier."""
