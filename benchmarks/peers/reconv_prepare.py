"""Ours as one command, as thin as pipeline/prepare.py; what it runs is benchmarks/preparing.py."""

if __name__ == "__main__":
    # As there: every decoding process reads this file as well, and needs nothing of it.
    from benchmarks.preparing import main

    main()
