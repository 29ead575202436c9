"""The command `reconv`. Its modules import what they need when they are called: `reconv --help` loads nothing else."""
