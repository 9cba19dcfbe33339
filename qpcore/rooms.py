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


def room_for_sifted(sizes: Sizes, dtype: np.dtype, slots: int, workers: int) -> Sifted:
    """Where groups note the rows of G that are kept, by worker."""
    rows, places = np.empty((2, workers, slots, sizes.m), np.int64)
    counts, pending = np.empty((workers, slots), np.int64), np.empty((workers, slots), bool)
    margin, room, pull = np.empty((3, workers, slots), dtype)
    Gx, per_norm = np.empty((2, workers, sizes.m), dtype)
    places = places.reshape(workers, -1)
    return Sifted(rows, places, counts, margin, room, pull, pending, Gx, per_norm)


memory = threading.local()


def memory_for(
    sizes: Sizes, dtype: np.dtype, slots: int, workers: int, traced: int = 0
) -> np.ndarray:
    """Workspaces for most purposes."""
    size = elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced)
    return memory_of(size, dtype, slots, workers)


def memory_of(size: int, dtype: np.dtype, slots: int, workers: int) -> np.ndarray:
    """Workspaces that a thread lends its workers, reused.

    (workers, size, slots), or (workers, size) for one slot. What is behind the vectors in one of
    them is the trace, so that none is longer than it has to be.
    """
    block = getattr(memory, dtype.char, None)
    if block is None or block.size < workers * size * slots:
        block = aligned(workers * size * slots, dtype)
        setattr(memory, dtype.char, block)
    block = block[: workers * size * slots]
    return block.reshape(workers, size) if slots == 1 else block.reshape(workers, size, slots)


def aligned(count: int, dtype: np.dtype) -> np.ndarray:
    """(count,) zeros that begin on a line of the cache."""
    raw = np.zeros(count + PACK_BYTES // dtype.itemsize, dtype)
    shift = -raw.ctypes.data % PACK_BYTES // dtype.itemsize
    return raw[shift : shift + count]
