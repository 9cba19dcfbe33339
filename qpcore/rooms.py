"""Room for what drivers find, and workspaces of their threads."""

from __future__ import annotations

import threading
from functools import lru_cache

import numpy as np

from qpcore import reuse
from qpcore.crew import Workspaces
from qpcore.kernels.adjoint import Derivative
from qpcore.kernels.outer import NEAR, Own
from qpcore.kernels.pack import PACK_BYTES
from qpcore.kernels.sift import Sifted
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import NOTES, Certificate, Sizes, elements

# Gradients of matrices of so many bytes are written past the cache if their rows have so many
# numbers: smaller arrays stay in it for whoever reads them, and short rows have few whole lines.
LEAST_PAST_CACHE, LEAST_ROW = 1 << 22, 32

# Axes of the arrays of Own, which are those of Q, q, G, h, A, b, lb, ub, h_lower.
AXES = 3, 2, 3, 2, 3, 2, 2, 2, 2


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
    adjoint = Vectors._make([np.empty((batch, width), dtype) for width in widths])
    answer = Vectors._make([np.empty((batch, width), dtype) for width in widths])
    return Derivative(adjoint, answer, np.empty((batch, len(Certificate._fields)), dtype))


def own_in(gradients: dict[str, np.ndarray], dtype: np.dtype) -> Own:
    """Where gradients go of arguments that each problem has for itself: (batch, ...), by name."""
    arrays = [gradients.get(name) for name in Own._fields[:-1]]
    arrays = [
        nothing_like(dtype, axes) if array is None else array
        for array, axes in zip(arrays, AXES, strict=True)
    ]
    shifts = shift_of(arrays[0]), shift_of(arrays[2]), shift_of(arrays[4])
    return Own._make([*arrays, shifts])


@lru_cache(maxsize=8)
def nothing_like(dtype: np.dtype, axes: int) -> np.ndarray:
    """What stands for gradients that nobody asks for."""
    return np.empty((0,) * axes, dtype)


def shift_of(out: np.ndarray) -> int:
    """How many numbers into a line of the cache it begins, if it is to be written past it."""
    if out.nbytes < LEAST_PAST_CACHE or out.shape[2] < LEAST_ROW:
        return NEAR
    return out.ctypes.data % PACK_BYTES // out.itemsize


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
) -> Workspaces:
    """Workspaces for most purposes."""
    size = elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced)
    return memory_of(size, dtype, slots, workers)


def memory_of(size: int, dtype: np.dtype, slots: int, workers: int) -> Workspaces:
    """Workspaces that a thread lends its workers, reused; each begins on a line of the cache."""
    stride = stride_of(size, dtype, slots)
    block = getattr(memory, dtype.char, None)
    if block is None or block.size < workers * stride * slots:
        block = aligned(workers * stride * slots, dtype)
        setattr(memory, dtype.char, block)
    block = block[: workers * stride * slots]
    return Workspaces(block if slots == 1 else block.reshape(-1, slots), size, stride, False)


def stride_of(size: int, dtype: np.dtype, slots: int) -> int:
    """How many elements lie between the beginnings of two workspaces; a pack is a line."""
    line = PACK_BYTES // dtype.itemsize
    return size if slots > 1 else -(-size // line) * line


class Saved:
    """Workspaces of single problems, kept as a solve leaves them: with factors for derivatives."""

    def __init__(self, count: int, size: int, dtype: np.dtype) -> None:
        stride, line = stride_of(size, dtype, 1), PACK_BYTES // dtype.itemsize
        raw = reuse.empty((count * stride + line,), dtype)
        shift = -raw.ctypes.data % PACK_BYTES // dtype.itemsize
        self.memory = Workspaces(raw[shift : shift + count * stride], size, stride, True)
        self.lock = threading.Lock()
        """Who differentiates writes to them."""


def aligned(count: int, dtype: np.dtype) -> np.ndarray:
    """(count,) zeros that begin on a line of the cache."""
    raw = np.zeros(count + PACK_BYTES // dtype.itemsize, dtype)
    shift = -raw.ctypes.data % PACK_BYTES // dtype.itemsize
    return raw[shift : shift + count]
