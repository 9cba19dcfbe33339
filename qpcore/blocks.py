"""The GPU's kernels: a block of threads as a team, and what one block does to a batch.

Elements are floats, so a problem has one slot; the threads of a block are the lanes of its team. A
block's workspace is dynamic shared memory, or its slice of an array in global memory. This module
says what runs on a GPU; `gpu.py` launches it, `ptx.py` compiles it where there is none. Needs
numba-cuda.
"""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections import namedtuple

from numba import cuda

from qpcore.kernels.adjoint import differentiate
from qpcore.kernels.certificate import MINIMUM, RUNNING, is_left_to
from qpcore.kernels.ipm import Parameters, solve_problem
from qpcore.kernels.machine import OPERATIONS, Operations, barrier, kernel, larger
from qpcore.kernels.transfer import (
    load,
    load_cotangents,
    load_progress,
    store,
    store_adjoint,
)
from qpcore.kernels.workspace import carve
from qpcore.plans import MOST_LANES, PARTS, SCRATCH
from qpcore.status import Status

NUMERICAL_ERROR = int(Status.NUMERICAL_ERROR)

# ---- the team ------------------------------------------------------------------------------------

# The team on a GPU: the threads of a block, and their scratch.
Block = namedtuple("Block", "lane width scratch")


@kernel(inline=True)
def block_barrier(team):
    """Wait for the block; what its threads wrote, to any memory, all of them see afterwards."""
    cuda.syncthreads()


# Two reductions in a row need no barrier between them: a lane writes its next value where only the
# parts of this one were read from, and the next parts behind a barrier that this one's readers
# passed.


@kernel
def block_sum(value, team):
    """The sum, in one order whatever the timing: every eighth value, then the eight parts."""
    values, parts = team.scratch, min(PARTS, team.width)
    values[team.lane] = value
    cuda.syncthreads()
    if team.lane < parts:
        for other in range(team.lane + parts, team.width, parts):
            value += values[other]
        values[MOST_LANES + team.lane] = value
    cuda.syncthreads()
    total = values[MOST_LANES]
    for part in range(1, parts):
        total += values[MOST_LANES + part]
    return total


@kernel
def block_max(value, team):
    """The largest value, the same way; NaN is passed over."""
    values, parts = team.scratch, min(PARTS, team.width)
    values[team.lane] = value
    cuda.syncthreads()
    if team.lane < parts:
        for other in range(team.lane + parts, team.width, parts):
            value = larger(value, values[other])
        values[MOST_LANES + team.lane] = value
    cuda.syncthreads()
    most = values[MOST_LANES]
    for part in range(1, parts):
        most = larger(most, values[MOST_LANES + part])
    return most


OPERATIONS[Block] = Operations(block_barrier, block_sum, block_max)


# ---- what a block does ---------------------------------------------------------------------------


@kernel
def solve_assigned(work, team, data, result, sizes, whole, real, first, step):
    """Solve the problems first, first + step, ..., each through all its stages at once.

    A block has no company to wait for. Row k of `whole` and `real` is stage k.
    """
    loaded = False  # what the batch shares; the search for a ray changes it
    for problem in range(first, data.entry.shape[1], step):
        if team.lane == 0:
            result.status[problem], result.iterations[problem] = RUNNING, 0
        barrier(team)
        for k in range(whole.shape[0]):
            stage = stage_of(whole, real, k)
            if is_left_to(stage.sought, result.status[problem]):
                load(work, data, sizes, problem, 1, loaded, team)
                load_progress(work, result, problem, 1, team)
                solve_problem(work, stage, sizes, team)
                store(result, work, stage.sought, sizes, problem, 1, team)
                loaded = stage.sought == MINIMUM
        barrier(team)  # all lanes have read the status that one may change
        if team.lane == 0 and result.status[problem] < 0:
            result.status[problem] = NUMERICAL_ERROR


@kernel
def differentiate_assigned(
    work, team, data, answer, cotangents, adjoint, sizes, whole, real, first, step
):
    """Solve the adjoint systems of the problems first, first + step, ..."""
    for problem in range(first, data.entry.shape[1], step):
        load(work, data, sizes, problem, 1, problem > first, team)
        load_cotangents(work, answer, cotangents, sizes, problem, 1, team)
        differentiate(work, stage_of(whole, real, 0), sizes, team)
        store_adjoint(adjoint, work, sizes, problem, 1, team)


@kernel(inline=True)
def stage_of(whole, real, k):
    """The parameters of stage k."""
    w, r = whole[k], real[k]
    return Parameters(
        w[0], w[1], w[2], w[3], w[4], w[5],
        r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9],
    )  # fmt: skip


# ---- the kernels ---------------------------------------------------------------------------------

# Block b takes the problems b, b + grid, ... `_shared`: the workspace is all of the dynamic shared
# memory; else row b of `memory`.


def solve_shared(data, result, sizes, whole, real):
    """Solve a batch."""
    scratch = cuda.shared.array(SCRATCH, data.q.dtype)
    team = Block(cuda.threadIdx.x, cuda.blockDim.x, scratch)
    work = carve(cuda.shared.array(0, data.q.dtype), sizes.n, sizes.m, sizes.p, sizes.rows)
    first, step = cuda.blockIdx.x, cuda.gridDim.x
    solve_assigned(work, team, data, result, sizes, whole, real, first, step)


def solve_global(data, result, memory, sizes, whole, real):
    """Solve a batch."""
    scratch = cuda.shared.array(SCRATCH, data.q.dtype)
    team = Block(cuda.threadIdx.x, cuda.blockDim.x, scratch)
    work = carve(memory[cuda.blockIdx.x], sizes.n, sizes.m, sizes.p, sizes.rows)
    first, step = cuda.blockIdx.x, cuda.gridDim.x
    solve_assigned(work, team, data, result, sizes, whole, real, first, step)


def differentiate_shared(data, answer, cotangents, adjoint, sizes, whole, real):
    """Solve the adjoint systems of a batch."""
    scratch = cuda.shared.array(SCRATCH, data.q.dtype)
    team = Block(cuda.threadIdx.x, cuda.blockDim.x, scratch)
    work = carve(cuda.shared.array(0, data.q.dtype), sizes.n, sizes.m, sizes.p, sizes.rows)
    first, step = cuda.blockIdx.x, cuda.gridDim.x
    differentiate_assigned(
        work, team, data, answer, cotangents, adjoint, sizes, whole, real, first, step
    )


def differentiate_global(data, answer, cotangents, adjoint, memory, sizes, whole, real):
    """Solve the adjoint systems of a batch."""
    scratch = cuda.shared.array(SCRATCH, data.q.dtype)
    team = Block(cuda.threadIdx.x, cuda.blockDim.x, scratch)
    work = carve(memory[cuda.blockIdx.x], sizes.n, sizes.m, sizes.p, sizes.rows)
    first, step = cuda.blockIdx.x, cuda.gridDim.x
    differentiate_assigned(
        work, team, data, answer, cotangents, adjoint, sizes, whole, real, first, step
    )


KERNELS = {
    ("solve", True): solve_shared,
    ("solve", False): solve_global,
    ("differentiate", True): differentiate_shared,
    ("differentiate", False): differentiate_global,
}
"""By task, and whether the workspace is shared memory."""
