"""Memory of large arrays that nobody holds any more, for the next ones of the same size.

A training loop asks for the same gradients in every step. Handed to the system and back, their
pages are cleared and mapped anew: 11 to 50 microseconds for the 80 KB of a 100 by 100 matrix, whose
outer product takes 1.1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

# Smaller arrays are left to NumPy and the C library, which keep what they need themselves.
LEAST = 1 << 20

# At most so many bytes are kept: two matrices of 100 by 100 for 800 problems, and their factors.
MOST = 1 << 28

# Where memory is new after all, arrays that begin with a huge page have no small ones: 9 instead of
# 15 microseconds for 80 KB. NumPy advises the system to use huge pages from `ADVISED` bytes on.
HUGE_PAGE, ADVISED = 1 << 21, 1 << 22

# Buffers by their size. Lists and dictionaries change in one step, so that threads, and finalisers
# that interrupt this module itself, need no lock.
_kept: dict[int, list[np.ndarray]] = {}


class Lease:
    """The base of an array: when the last view of it is gone, the buffer is kept."""

    __slots__ = ("__array_interface__", "_buffer")

    def __init__(self, buffer: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._buffer = buffer
        place = buffer.__array_interface__["data"]
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "data": place,
            "shape": shape,
            "typestr": dtype.str,
        }

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending():  # else names of modules may stand for nothing any more
            _keep(self._buffer)


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What `np.empty` gives, in memory used before where there is some."""
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    try:
        buffer = _kept[size].pop()
    except (KeyError, IndexError):
        buffer = _aligned(size)
    return np.asarray(Lease(buffer, shape, dtype))


def forget() -> None:
    """Hand all that is kept back to the system."""
    _kept.clear()


def _aligned(size: int) -> np.ndarray:
    """Fresh bytes, from the beginning of a huge page on if there are huge pages for them."""
    if size < ADVISED:
        return np.empty(size, np.uint8)
    raw = np.empty(size + HUGE_PAGE, np.uint8)
    shift = -raw.ctypes.data % HUGE_PAGE
    return raw[shift : shift + size]


def _keep(buffer: np.ndarray) -> None:
    """Keep a buffer; those of other sizes go first if there are too many bytes."""
    size = buffer.nbytes
    if _held() + size > MOST:
        for other in [key for key in _kept if key != size]:
            _kept.pop(other, None)
    if _held() + size <= MOST:
        _kept.setdefault(size, []).append(buffer)


def _held() -> int:
    """Bytes that are kept."""
    return sum(size * len(buffers) for size, buffers in list(_kept.items()))
