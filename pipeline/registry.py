"""registry: has MLflow's registry lost what was registered? -> results/registry.json. Runs each time, for a moment."""

import sys

from reconv.console import Console, quiet_libraries
from reconv.errors import ReconvError
from reconv.params import load_params
from reconv.registry.lost import note_losses

if __name__ == "__main__":
    with quiet_libraries("registry") as terminal:
        console = Console("registry", None, terminal)
        try:
            note_losses(load_params().resources, console.say)
        except ReconvError as error:
            console.say(f"stopped: {error}")
            sys.exit(1)
