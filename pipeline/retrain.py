"""What a schedule calls where `reconv` is not on the path; the same as `reconv retrain`, with its options."""

import own_python  # noqa: F401

from reconv.cli.retrain import retrain

if __name__ == "__main__":
    retrain()
