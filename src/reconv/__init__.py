"""Is a convolutional network worth it on your images? The pipeline's stages are made of what is in here."""

import gc
import time

from reconv.interruption import answer_ctrl_c

IMPORTED_AT = time.time()
"""When this process began to load the code that a stage runs."""

# Imports make hundreds of thousands of objects that stay: collecting garbage after every 700 of them takes a fifth of
# the 6 s that torch and Lightning need, in every stage and every worker.
gc.set_threshold(100_000, 50, 50)
answer_ctrl_c()
