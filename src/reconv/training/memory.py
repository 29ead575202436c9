"""A training that does not fit into memory says so, whatever it was that raised. Around `fit`; needs torch, no Ray."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning.utilities.memory import is_cuda_out_of_memory, is_out_of_cpu_memory

from reconv.errors import DeviceMemoryShortError, MemoryShortError


@contextmanager
def names_shortage_of_memory() -> Iterator[None]:
    """Also a decorator.

    Raises:
        DeviceMemoryShortError: in place of what torch raises when a GPU's memory does not suffice.
        MemoryShortError: the same for the machine's.
    """
    try:
        yield
    except Exception as error:
        reason, remedy = (str(error) or type(error).__name__).splitlines()[0], MemoryShortError.remedy
        # Without the error itself: its traceback holds the tensors that were too many.
        if isinstance(error, torch.OutOfMemoryError) or is_cuda_out_of_memory(error):
            raise DeviceMemoryShortError(f"the GPU has too little memory ({reason}): {remedy}") from None
        if _is_of_machine(error):
            raise MemoryShortError(f"the machine has too little memory ({reason}): {remedy}") from None
        raise


def _is_of_machine(error: Exception) -> bool:
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return refused or isinstance(error, MemoryError) or is_out_of_cpu_memory(error)
