"""A trial or final training once more, from what is kept of it: does it come out the same?"""
