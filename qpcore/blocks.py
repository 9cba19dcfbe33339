"""The GPU's kernels: a block of threads as a team, and what one block does to a batch.

Elements are floats, so a problem has one slot; the threads of a block are the lanes of its team. A
block's workspace is dynamic shared memory, or its slice of an array in global memory. This module
says what runs on a GPU; `gpu.py` launches it, `ptx.py` compiles it where there is none. Needs
numba-cuda.
"""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportOptionalSubscript=false

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import cuda, types
from numba.extending import overload

from qpcore.kernels.adjoint import differentiate, store_derivative
from qpcore.kernels.certificate import MINIMUM, RUNNING, is_left_to
from qpcore.kernels.ipm import solve_problem
from qpcore.kernels.machine import OPERATIONS, Operations, barrier, kernel, larger, like
from qpcore.kernels.transfer import (
    load,
    load_cotangents,
    load_progress,
    store,
)
from qpcore.kernels.workspace import carve
from qpcore.notes import Shared, note_rules, note_sizes, note_stage, parameters_noted, small
from qpcore.plans import MOST_LANES, PARTS, places_of
from qpcore.status import Status

NUMERICAL_ERROR = int(Status.NUMERICAL_ERROR)

# ---- the team and its memory ---------------------------------------------------------------------

# The team on a GPU: the threads of a block, and their scratch for reductions. memory: where the
# workspace is, a row of global memory, or any number, for the rest of the shared memory.
Block = namedtuple("Block", "lane width scratch memory")


def shared_of(memory):
    """The block's dynamic shared memory; in a tuple, as Numba lets no function return an array."""
    dtype = np.dtype(memory.dtype)
    numbers, (a, b, c) = cuda.shared.array(0, dtype), places_of(dtype.itemsize)
    return Shared(cuda.shared.array(0, np.dtype(np.int64)), numbers[a:b], numbers[b:c], numbers[c:])


@overload(shared_of, target="cuda", jit_options={"forceinline": True})
def _shared_of(memory):
    number = getattr(memory, "dtype", memory)
    a, b, c = places_of(number.bitwidth // 8)

    def shared_of(memory):
        numbers = cuda.shared.array(0, number)
        return Shared(cuda.shared.array(0, types.int64), numbers[a:b], numbers[b:c], numbers[c:])

    return shared_of


@kernel(inline=True)
def team_of(shared, memory):
    """The threads of this block."""
    return Block(small(cuda.threadIdx.x), small(cuda.blockDim.x), shared.scratch, memory)


def work_of(shared, memory, sizes):
    """The workspace of this block."""
    rest = memory if memory.shape else shared.rest
    return carve(rest, sizes.n, sizes.m, sizes.p, sizes.rows)


@overload(work_of, target="cuda", jit_options={"forceinline": True})
def _work_of(shared, memory, sizes):
    if isinstance(memory, types.Array):
        return lambda shared, memory, sizes: carve(memory, sizes.n, sizes.m, sizes.p, sizes.rows)
    return lambda shared, memory, sizes: carve(shared.rest, sizes.n, sizes.m, sizes.p, sizes.rows)


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
    values = team.scratch
    values[team.lane] = value
    cuda.syncthreads()
    if team.lane < PARTS:
        for other in range(team.lane + PARTS, team.width, PARTS):
            value += values[other]
        values[MOST_LANES + team.lane] = value
        for missing in range(team.lane + team.width, PARTS, team.width):
            values[MOST_LANES + missing] = like(0, value)
    cuda.syncthreads()
    v = parts_of(values)
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))


@kernel
def block_max(value, team):
    """The largest value, the same way; NaN is passed over."""
    values = team.scratch
    values[team.lane] = value
    cuda.syncthreads()
    if team.lane < PARTS:
        for other in range(team.lane + PARTS, team.width, PARTS):
            value = larger(value, values[other])
        values[MOST_LANES + team.lane] = value
        for missing in range(team.lane + team.width, PARTS, team.width):
            values[MOST_LANES + missing] = value
    cuda.syncthreads()
    v = parts_of(values)
    a, b = larger(v[0], v[1]), larger(v[2], v[3])
    c, d = larger(v[4], v[5]), larger(v[6], v[7])
    return larger(larger(a, b), larger(c, d))


@kernel(inline=True)
def parts_of(values):
    """The eight parts, read at once: one by one they took 300 cycles."""
    k = MOST_LANES
    return (
        values[k],
        values[k + 1],
        values[k + 2],
        values[k + 3],
        values[k + 4],
        values[k + 5],
        values[k + 6],
        values[k + 7],
    )


OPERATIONS[Block] = Operations(block_barrier, block_sum, block_max)


# ---- what a block does ---------------------------------------------------------------------------


@kernel(inline=True)
def solve_assigned(memory, data, result, sizes, whole, real):
    """Solve this block's problems, each through all its stages at once.

    A block has no company to wait for. Row k of `whole` and `real` is stage k.
    """
    shared = shared_of(memory)
    team, work = team_of(shared, memory), work_of(shared, memory, sizes)
    note_sizes(shared, sizes, team)
    loaded = False  # what the batch shares; the search for a ray changes it
    for problem in range(cuda.blockIdx.x, data.entry.shape[1], cuda.gridDim.x):
        if team.lane == 0:
            result.status[problem], result.iterations[problem] = RUNNING, 0
        barrier(team)
        for k in range(whole.shape[0]):
            sought = whole[k, 0]
            if is_left_to(sought, result.status[problem]):
                note_stage(shared, whole, real, k, team)
                load(work, data, sizes, problem, 1, loaded, team)
                load_progress(work, result, problem, 1, team)
                solve_problem(work, parameters_noted(shared), sizes, team)
                store(result, work, sought, sizes, problem, 1, team)
                loaded = sought == MINIMUM
        barrier(team)  # all lanes have read the status that one may change
        if team.lane == 0 and result.status[problem] < 0:
            result.status[problem] = NUMERICAL_ERROR


@kernel(inline=True)
def differentiate_assigned(memory, data, answer, cotangents, derivative, sizes, rules):
    """Solve the adjoint systems of this block's problems."""
    shared = shared_of(memory)
    team, work = team_of(shared, memory), work_of(shared, memory, sizes)
    note_sizes(shared, sizes, team)
    note_rules(shared, rules, team)
    for problem in range(cuda.blockIdx.x, data.entry.shape[1], cuda.gridDim.x):
        load(work, data, sizes, problem, 1, problem > cuda.blockIdx.x, team)
        load_cotangents(work, answer, cotangents, sizes, problem, 1, team)
        differentiate(work, rules, sizes, team)
        store_derivative(derivative, work, sizes, problem, 1, team)


# ---- the kernels ---------------------------------------------------------------------------------

# Block b takes the problems b, b + grid, ... `_shared`: the workspace is in dynamic shared memory;
# else in row b of `memory`.


def solve_shared(data, result, sizes, whole, real):
    """Solve a batch."""
    solve_assigned(real[0, 0], data, result, sizes, whole, real)


def solve_global(data, result, memory, sizes, whole, real):
    """Solve a batch."""
    solve_assigned(memory[cuda.blockIdx.x], data, result, sizes, whole, real)


def differentiate_shared(data, answer, cotangents, derivative, sizes, rules):
    """Solve the adjoint systems of a batch."""
    differentiate_assigned(rules.mu, data, answer, cotangents, derivative, sizes, rules)


def differentiate_global(data, answer, cotangents, derivative, memory, sizes, rules):
    """Solve the adjoint systems of a batch."""
    own = memory[cuda.blockIdx.x]
    differentiate_assigned(own, data, answer, cotangents, derivative, sizes, rules)


KERNELS = {
    ("solve", True): solve_shared,
    ("solve", False): solve_global,
    ("differentiate", True): differentiate_shared,
    ("differentiate", False): differentiate_global,
}
"""By task, and whether the workspace is shared memory."""
