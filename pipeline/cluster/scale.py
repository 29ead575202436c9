"""Asks a cluster's autoscaler for CPUs and GPUs and waits until they are there; called by repro.sh.

A stage starts as many trainings as there is room for when it begins, and on a cluster that is scaled to zero there is
none. What was asked for stays until the cluster goes, or until this is called without numbers.
"""

import argparse
import sys
import time

import ray
from ray.autoscaler.sdk import request_resources


def main() -> None:
    """Connect to the cluster that RAY_ADDRESS names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--num-cpus", type=int, default=0)
    parser.add_argument("--num-gpus", type=int, default=0)
    parser.add_argument("--timeout-seconds", type=float, default=1200)
    options = parser.parse_args()
    ray.init("auto", log_to_driver=False, configure_logging=False)
    request_resources(bundles=[{"GPU": 1}] * options.num_gpus + [{"CPU": 1}] * options.num_cpus)
    wanted = {"CPU": options.num_cpus, "GPU": options.num_gpus}
    end = time.monotonic() + options.timeout_seconds
    while short := {name: num for name, num in wanted.items() if ray.cluster_resources().get(name, 0) < num}:
        if time.monotonic() > end:
            request_resources(bundles=[])
            sys.exit(f"after {options.timeout_seconds:.0f} s there are still fewer than {short} in the cluster")
        time.sleep(2)


if __name__ == "__main__":
    main()
