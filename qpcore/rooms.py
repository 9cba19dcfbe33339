"""Room for what drivers find, and workspaces of their threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from functools import lru_cache
from typing import Any

import numpy as np

from qpcore import reuse
from qpcore.crew import Workspaces
from qpcore.kernels.adjoint import Derivative
from qpcore.kernels.certificate import RUNNING
from qpcore.kernels.outer import LEAST_PAST_CACHE, LEAST_ROW, NEAR, TOGETHER, Own
from qpcore.kernels.pack import PACK_BYTES
from qpcore.kernels.sift import Sifted
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.whole import Whole
from qpcore.kernels.workspace import CERTIFIED, NOTES, Sizes, elements

# Factors of problems by themselves are kept for derivatives up to so many bytes, of one solve and
# of all that a thread has done lately: those of 32 problems of 500 variables and rows. Of packs not
# more than `reuse` can hold, those of 800 problems of 100 by 100: in memory that is new they would
# take as long to write as they save.
MOST_SAVED, MOST_KEPT = 1 << 28, 1 << 27

INT8, INT32 = np.dtype(np.int8), np.dtype(np.int32)

# Axes of the arrays of Own, which are those of Q, q, G, h, A, b, lb, ub, h_lower.
AXES = 3, 2, 3, 2, 3, 2, 2, 2, 2
PLACES = {name: place for place, name in enumerate(Own._fields)}


def empty_result(batch: int, sizes: Sizes, dtype: np.dtype, traced: int) -> Result:
    """Room for the answers and outcomes of every problem, which all are still to be solved."""
    n, m, p, empty = sizes.n, sizes.m, sizes.p, np.empty
    vectors = [empty((batch, width), dtype) for width in (n, m, p, n)]
    status, iterations = empty(batch, INT8), np.zeros(batch, INT32)
    status.fill(RUNNING)
    return Result._make([*vectors, status, iterations, empty((batch, traced, NOTES), dtype)])


def empty_derivative(batch: int, sizes: Sizes, dtype: np.dtype) -> Derivative:
    """Room for what `adjoint` finds of every problem."""
    n, m, p, box = sizes.n, sizes.m, sizes.p, sizes.rows - sizes.m  # no z_box without bounds
    shapes = (batch, n), (batch, m), (batch, p), (batch, box)
    adjoint = Vectors._make([np.empty(shape, dtype) for shape in shapes])
    answer = Vectors._make([np.empty(shape, dtype) for shape in shapes])
    return Derivative(adjoint, answer, np.empty((batch, CERTIFIED), dtype))


def own_in(gradients: dict[str, np.ndarray], dtype: np.dtype) -> Own:
    """Where gradients go of arguments that each problem has for itself: (batch, ...), by name."""
    own = nothing_of(dtype)
    if not gradients:
        return own
    arrays: list[Any] = list(own)
    for name, out in gradients.items():
        arrays[PLACES[name]] = out
    Q, _, G, _, A, *_ = arrays
    arrays[-1] = shift_of(Q), shift_of(G), shift_of(A)
    return Own._make(arrays)


@lru_cache(maxsize=2)
def nothing_of(dtype: np.dtype) -> Own:
    """What stands for gradients that nobody asks for."""
    return Own._make([*(np.empty((0,) * axes, dtype) for axes in AXES), (NEAR, NEAR, NEAR)])


def shift_of(out: np.ndarray) -> int:
    """How many numbers into a line of the cache it begins, if it is to be written past it.

    NEAR, if it is not, and TOGETHER, if whole lines are to be put together first.
    """
    if out.nbytes < LEAST_PAST_CACHE:
        return NEAR
    shift = out.__array_interface__["data"][0] % PACK_BYTES // out.itemsize
    if out.shape[2] >= LEAST_ROW:
        return shift
    return NEAR if shift else TOGETHER


def room_for_sifted(sizes: Sizes, dtype: np.dtype, slots: int, workers: int) -> Sifted:
    """Where groups note the rows of G that are kept, by worker."""
    rows, places = np.empty((2, workers, slots, sizes.m), np.int64)
    counts, pending = np.empty((workers, slots), np.int64), np.empty((workers, slots), bool)
    margin, room, pull = np.empty((3, workers, slots), dtype)
    Gx, per_norm = np.empty((2, workers, sizes.m), dtype)
    places = places.reshape(workers, -1)
    return Sifted(rows, places, counts, margin, room, pull, pending, Gx, per_norm)


# So many workspaces are cut out of a thread's block at most, before it is cut anew.
MOST_CUT = 16


class Memory(threading.local):
    """A block of numbers of each dtype that a thread lends its workers, and how it was cut."""

    def __init__(self) -> None:
        self.blocks: dict[str, np.ndarray] = {}
        self.cut: dict[tuple[str, int, int, int], Workspaces] = {}


memory = Memory()


def memory_for(
    sizes: Sizes, dtype: np.dtype, slots: int, workers: int, traced: int = 0
) -> Workspaces:
    """Workspaces for most purposes."""
    size = elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced)
    return memory_of(size, dtype, slots, workers)


def memory_of(size: int, dtype: np.dtype, slots: int, workers: int) -> Workspaces:
    """Workspaces that a thread lends its workers, reused; each begins on a line of the cache."""
    wanted = dtype.char, size, slots, workers
    workspaces = memory.cut.get(wanted)
    if workspaces is None:
        workspaces = memory.cut[wanted] = cut(size, dtype, slots, workers)
    return workspaces


def cut(size: int, dtype: np.dtype, slots: int, workers: int) -> Workspaces:
    """The same out of the block, or of a larger one in its place."""
    stride, block = stride_of(size, dtype, slots), memory.blocks.get(dtype.char)
    count = workers * stride * slots
    if len(memory.cut) >= MOST_CUT:
        memory.cut.clear()
    if block is None or block.size < count:
        memory.cut.clear()  # else the block that was there would stay
        block = memory.blocks[dtype.char] = aligned(count, dtype)
    part = block[:count] if slots == 1 else block[:count].reshape(-1, slots)
    return Workspaces(part, size, stride, False)


def stride_of(size: int, dtype: np.dtype, slots: int) -> int:
    """How many elements lie between the beginnings of two workspaces; a pack is a line."""
    line = PACK_BYTES // dtype.itemsize
    return size if slots > 1 else -(-size // line) * line


class Saved:
    """Workspaces of single problems, kept as a solve leaves them: with factors for derivatives."""

    def __init__(self, count: int, size: int, dtype: np.dtype) -> None:
        stride = stride_of(size, dtype, 1)
        block = used_before(count * stride, dtype)
        self.memory: Workspaces | None = Workspaces(block, size, stride, True)
        """None once they have been given up."""
        self.lock = threading.Lock()
        """For who differentiates, which writes to them."""
        self.process = os.getpid()
        make_room(self, block.nbytes)

    def give_up(self) -> None:
        """Forget it."""
        self.memory = None

    def workspaces(self) -> Workspaces | None:
        """The memory, but not in a forked child, where the lock may never be released."""
        return self.memory if self.process == os.getpid() else None


class Kept:
    """Factors of packs, which a solve leaves to derivatives and nobody writes to any more."""

    def __init__(self, groups: int, size: int, dtype: np.dtype, slots: int) -> None:
        block = used_before(groups * size * slots, dtype)
        begins = np.zeros(groups + 1, np.int64)
        self.factors: Whole | None = Whole(block.reshape(-1, slots), begins)
        """None once they have been given up."""
        make_room(self, block.nbytes)

    def give_up(self) -> None:
        """Forget them."""
        self.factors = None


def factors_in(saved: Saved | Kept | None, dtype: np.dtype) -> Whole:
    """Where factors of packs go; there is no room if nobody keeps them."""
    factors = saved.factors if isinstance(saved, Kept) else None
    return factors or nowhere(dtype)


@lru_cache(maxsize=2)
def nowhere(dtype: np.dtype) -> Whole:
    """What stands for factors that nobody keeps."""
    return Whole(np.empty((0, 1), dtype), np.empty(0, np.int64))


# So many entries of what a thread has saved are not worth a look for dead ones.
FEW = 64


class Recent(threading.local):
    """What a thread has saved, the oldest first, and how many bytes that is."""

    def __init__(self) -> None:
        self.saved: deque[tuple[weakref.ref[Saved | Kept], int]] = deque()
        self.bytes = 0
        self.enough = FEW
        """Beyond so many entries it pays to forget those that nobody holds any more."""

    def tidy(self) -> None:
        """Forget what nobody holds any more."""
        self.saved = deque(entry for entry in self.saved if entry[0]() is not None)
        self.bytes = sum(size for _, size in self.saved)
        self.enough = FEW + 2 * len(self.saved)


recent = Recent()


def make_room(saved: Saved | Kept, size: int) -> None:
    """Give up the oldest of what the thread has saved: whoever keeps solutions keeps no factors."""
    recent.saved.append((weakref.ref(saved), size))
    recent.bytes += size
    if recent.bytes > MOST_SAVED or len(recent.saved) > recent.enough:
        recent.tidy()
    while recent.bytes > MOST_SAVED and len(recent.saved) > 1:
        reference, size = recent.saved.popleft()
        recent.bytes -= size
        oldest = reference()
        if oldest is not None:
            oldest.give_up()


def used_before(count: int, dtype: np.dtype) -> np.ndarray:
    """(count,) numbers, whatever they are, in memory that was used before if there is some."""
    raw = reuse.empty((count + PACK_BYTES // dtype.itemsize,), dtype)
    place = raw.__array_interface__["data"][0]
    shift = -place % PACK_BYTES // dtype.itemsize
    return raw[shift : shift + count]


def aligned(count: int, dtype: np.dtype) -> np.ndarray:
    """(count,) zeros that begin on a line of the cache."""
    raw = np.zeros(count + PACK_BYTES // dtype.itemsize, dtype)
    shift = -raw.ctypes.data % PACK_BYTES // dtype.itemsize
    return raw[shift : shift + count]
