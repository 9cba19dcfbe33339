"""Room for what drivers find, and workspaces of their threads."""

from __future__ import annotations

import threading

import numpy as np

from qpcore.kernels.adjoint import Derivative
from qpcore.kernels.pack import PACK_BYTES
from qpcore.kernels.quality import Certificate
from qpcore.kernels.sift import Sifted
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import NOTES, Sizes, elements


def empty_result(batch: int, sizes: Sizes, dtype: np.dtype, traced: int) -> Result:
    """Room for the answers and outcomes of every problem."""
    status, iterations = np.empty(batch, np.int8), np.empty(batch, np.int32)
    notes = np.empty((batch, traced, NOTES), dtype)
    return Result(*empty_vectors(batch, sizes, dtype), status, iterations, notes)


def empty_vectors(batch: int, sizes: Sizes, dtype: np.dtype) -> Vectors:
    """Room for x, z, y, z_box of every problem."""
    widths = sizes.n, sizes.m, sizes.p, sizes.n
    return Vectors._make([np.empty((batch, width), dtype) for width in widths])


def empty_derivative(batch: int, sizes: Sizes, dtype: np.dtype) -> Derivative:
    """Room for what `adjoint` finds of every problem."""
    widths = sizes.n, sizes.m, sizes.p, sizes.rows - sizes.m  # no z_box where there are no bounds
    adjoint, answer = (
        Vectors(*(np.empty((batch, width), dtype) for width in widths)) for _ in range(2)
    )
    return Derivative(adjoint, answer, np.empty((batch, len(Certificate._fields)), dtype))


def room_for_sifted(sizes: Sizes, dtype: np.dtype, slots: int) -> Sifted:
    """Where a group notes the rows of G that are kept."""
    rows, places = np.empty((slots, sizes.m), np.int64), np.empty(slots * sizes.m, np.int64)
    counts, pending = np.empty(slots, np.int64), np.empty(slots, bool)
    margin, room, pull = np.empty((3, slots), dtype)
    Gx, per_norm = np.empty((2, sizes.m), dtype)
    return Sifted(rows, places, counts, margin, room, pull, pending, Gx, per_norm)


memory = threading.local()


def memory_for(sizes: Sizes, dtype: np.dtype, slots: int, traced: int = 0) -> np.ndarray:
    """Workspace of the calling thread for most purposes."""
    return memory_of(elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced), dtype, slots)


def memory_of(size: int, dtype: np.dtype, slots: int) -> np.ndarray:
    """Workspace of the calling thread: (size, slots), or (size,) for one slot; reused."""
    count = size * slots
    block = getattr(memory, dtype.char, None)
    if block is None or block.size < count:
        spare = PACK_BYTES // dtype.itemsize  # to begin on a cache line
        raw = np.zeros(count + spare, dtype)
        shift = -raw.ctypes.data % PACK_BYTES // dtype.itemsize
        block = raw[shift : shift + count]
        setattr(memory, dtype.char, block)
    return block[:count] if slots == 1 else block[:count].reshape(-1, slots)
