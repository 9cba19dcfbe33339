"""The GPU's part of the kernels: a block of threads as a team, and what one block does to a batch.

Elements are floats, so a problem has one slot; the threads of a block are the lanes of its team. A
block's workspace is its slice of one array in global memory. This module says what runs on a GPU
and compiles it, which needs no GPU. Nothing here launches a kernel yet: the driver that places the
arrays, chooses grid and block and waits for the answer comes later, and until then qpcore does not
import this file. It needs numba-cuda.
"""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda, types
from numba.np.numpy_support import from_dtype

from qpcore.kernels.adjoint import Derivative, Rules, differentiate, store_derivative
from qpcore.kernels.certificate import MINIMUM, RUNNING, is_left_to
from qpcore.kernels.ipm import WHOLE, Parameters, solve_problem
from qpcore.kernels.machine import OPERATIONS, Operations, barrier, kernel, larger
from qpcore.kernels.transfer import (
    Result,
    Vectors,
    load,
    load_cotangents,
    load_progress,
    store,
)
from qpcore.kernels.workspace import Data, Sizes, carve
from qpcore.status import Status

NUMERICAL_ERROR = int(Status.NUMERICAL_ERROR)

# ---- the team ------------------------------------------------------------------------------------

# The most threads that a block may have: as many elements of shared memory are its scratch.
MOST_LANES = 256

# The team on a GPU: the threads of a block; scratch holds one element a lane.
Block = namedtuple("Block", "lane width scratch")


@kernel(inline=True)
def block_barrier(team):
    """Wait for the block; what its threads wrote, to any memory, all of them see afterwards."""
    cuda.syncthreads()


@kernel
def block_sum(value, team):
    """Every lane adds all values in the order of the lanes, so that all get the same bits."""
    team.scratch[team.lane] = value
    cuda.syncthreads()
    total = team.scratch[0]
    for lane in range(1, team.width):
        total += team.scratch[lane]
    cuda.syncthreads()  # nobody may write the next value while another still reads
    return total


@kernel
def block_max(value, team):
    """Every lane compares all values in the order of the lanes; NaN is passed over."""
    team.scratch[team.lane] = value
    cuda.syncthreads()
    most = team.scratch[0]
    for lane in range(1, team.width):
        most = larger(most, team.scratch[lane])
    cuda.syncthreads()
    return most


OPERATIONS[Block] = Operations(block_barrier, block_sum, block_max)


# ---- the kernels ---------------------------------------------------------------------------------


def solve_block(data, result, memory, sizes, stages):
    """Solve the problems of this block: blockIdx, blockIdx + gridDim, ..., in memory[blockIdx].

    Every problem goes through its stages at once: a block has no company to wait for.
    """
    scratch = cuda.shared.array(MOST_LANES, memory.dtype)
    team = Block(cuda.threadIdx.x, cuda.blockDim.x, scratch)
    work = carve(memory[cuda.blockIdx.x], sizes.n, sizes.m, sizes.p, sizes.rows)
    loaded = False  # what the batch shares; the search for a ray changes it
    for problem in range(cuda.blockIdx.x, data.entry.shape[1], cuda.gridDim.x):
        if team.lane == 0:
            result.status[problem], result.iterations[problem] = RUNNING, 0
        barrier(team)
        for stage in stages:
            if is_left_to(stage.sought, result.status[problem]):
                load(work, data, sizes, problem, 1, loaded, team)
                load_progress(work, result, problem, 1, team)
                solve_problem(work, stage, sizes, team)
                store(result, work, stage.sought, sizes, problem, 1, team)
                loaded = stage.sought == MINIMUM
        barrier(team)  # all lanes have read the status that one may change
        if team.lane == 0 and result.status[problem] < 0:
            result.status[problem] = NUMERICAL_ERROR


def differentiate_block(data, answer, cotangents, derivative, memory, sizes, rules):
    """Solve the adjoint systems of this block's problems, those of `solve_block`."""
    scratch = cuda.shared.array(MOST_LANES, memory.dtype)
    team = Block(cuda.threadIdx.x, cuda.blockDim.x, scratch)
    work = carve(memory[cuda.blockIdx.x], sizes.n, sizes.m, sizes.p, sizes.rows)
    for problem in range(cuda.blockIdx.x, data.entry.shape[1], cuda.gridDim.x):
        load(work, data, sizes, problem, 1, problem > cuda.blockIdx.x, team)
        load_cotangents(work, answer, cotangents, sizes, problem, 1, team)
        differentiate(work, rules, sizes, team)
        store_derivative(derivative, work, sizes, problem, 1, team)


# ---- compilation ---------------------------------------------------------------------------------


def compile_ptx(name: str, dtype: Any, cc: tuple[int, int], stages: int = 1) -> str:
    """PTX of `solve_block`, for so many stages, or `differentiate_block`; needs no GPU."""
    kernels = {"solve_block": solve_block, "differentiate_block": differentiate_block}
    with assumed_device(cc):
        ptx, _ = cuda.compile_ptx(kernels[name], signature(name, dtype, stages), cc=cc)
    return ptx


def signature(name: str, dtype: Any, stages: int) -> tuple:
    """Numba's types of a kernel's arguments; all arrays are contiguous and writable."""
    number = from_dtype(np.dtype(dtype))
    matrix = types.Array(number, 2, "C")
    stack = types.Array(number, 3, "C")
    data = Data(
        stack, matrix, stack, matrix, stack, *4 * [matrix], types.Array(types.int64, 2, "C")
    )
    integers = (types.Array(types.int8, 1, "C"), types.Array(types.int32, 1, "C"))
    sides = types.UniTuple(types.int64, 2)
    sizes = Sizes(*4 * [types.int64], sides, sides)
    kinds = (types.int64 if field in WHOLE else number for field in Parameters._fields)
    parameters = Parameters(*kinds)
    every_stage = types.UniTuple(named(parameters), stages)
    rules = Rules(*len(Rules._fields) * [number])
    result, vectors = Result(*4 * [matrix], *integers, stack), Vectors(*4 * [matrix])
    derivative = Derivative(named(vectors), named(vectors), matrix)
    arguments = {
        "solve_block": (data, result, matrix, sizes, every_stage),
        "differentiate_block": (data, vectors, vectors, derivative, matrix, sizes, rules),
    }
    return tuple(named(fields) for fields in arguments[name])


def named(fields: Any) -> Any:
    """Numba's type of a namedtuple of types; a type as it is."""
    if not isinstance(fields, tuple):
        return fields
    same = len(set(fields)) == 1
    if same:
        return types.NamedUniTuple(fields[0], len(fields), type(fields))
    return types.NamedTuple(fields, type(fields))


@contextmanager
def assumed_device(cc: tuple[int, int]) -> Iterator[None]:
    """Let numba-cuda take this capability for the device's: it asks, for functions it can't inline.

    The answer only picks a default; what `cuda.compile_ptx` was asked for decides what comes out.
    """
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
    try:
        yield
    finally:
        dispatcher.get_current_device = asked
