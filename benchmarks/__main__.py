"""`python -m benchmarks [--quick] [NAME ...]`: run those named, or all; write results/NAME.json and the table."""

import argparse
import importlib
import sys

from benchmarks.measure import save

BENCHMARKS = (
    "training",
    "accuracy",
    "recipe",
    "search",
    "search_quality",
    "pipeline",
    "growth",
    "tracking",
    "cluster",
    "verdict",
    "gate",
    "report",
    "own_images",
    "loaders",
    "prediction",
    "serving",
    "onnx",
    "gpu",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="smallest sizes, one repeat: only to see that they run")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}")
    for name in arguments.names or BENCHMARKS:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"{name}: {module.TITLE}", file=sys.stderr, flush=True)
        rows = module.measure("quick" if arguments.quick else "full")
        if rows and not arguments.quick:
            save(name, module.TITLE, rows)


if __name__ == "__main__":
    main()
