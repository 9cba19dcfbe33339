"""What a block of a GPU notes at the head of its shared memory, to be found by its phases.

Sizes and parameters, once written, need no registers while something else is done.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from qpcore.kernels.adjoint import Rules
from qpcore.kernels.ipm import REAL, WHOLE, Parameters
from qpcore.kernels.machine import barrier, kernel
from qpcore.kernels.workspace import Sizes

# The block's dynamic shared memory: whole numbers, numbers of the problem's dtype, room for
# reductions, and the workspace if it fits. `plans.py` says how much of each.
Shared = namedtuple("Shared", "whole numbers scratch rest")

# Where the whole parameters begin, behind the sizes.
PARAMETERS = 8


@kernel(inline=True)
def note_sizes(shared, sizes, team):
    """Note the sizes."""
    whole = shared.whole
    if team.lane == 0:
        whole[0], whole[1], whole[2], whole[3] = sizes.n, sizes.m, sizes.p, sizes.rows
        whole[4], whole[5] = sizes.first
        whole[6], whole[7] = sizes.last
    barrier(team)


@kernel(inline=True)
def sizes_noted(shared):
    """The sizes."""
    w = shared.whole
    first, last = (small(w[4]), small(w[5])), (small(w[6]), small(w[7]))
    return Sizes(small(w[0]), small(w[1]), small(w[2]), small(w[3]), first, last)


@kernel(inline=True)
def small(size):
    """A size, of which the compiler then knows that it is not negative and below 2**32."""
    return np.int64(np.uint32(size))


@kernel(inline=True)
def note_stage(shared, whole, real, k, team):
    """Note row k of the stages, whole numbers and real ones."""
    barrier(team)  # all are done with the stage before
    for i in range(team.lane, len(WHOLE), team.width):
        shared.whole[PARAMETERS + i] = whole[k, i]
    for i in range(team.lane, len(REAL), team.width):
        shared.numbers[i] = real[k, i]
    barrier(team)


@kernel(inline=True)
def parameters_noted(shared):
    """The stage."""
    w, r = shared.whole, shared.numbers
    return Parameters(
        w[8], w[9], w[10], w[11], w[12], w[13],
        r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11],
    )  # fmt: skip


@kernel(inline=True)
def note_rules(shared, rules, team):
    """Note how to differentiate."""
    numbers = shared.numbers
    if team.lane == 0:
        numbers[0], numbers[1], numbers[2] = rules.rho, rules.delta, rules.mu
        numbers[3], numbers[4] = rules.enough, rules.rounding
    barrier(team)


@kernel(inline=True)
def rules_noted(shared):
    """How to differentiate."""
    r = shared.numbers
    return Rules(r[0], r[1], r[2], r[3], r[4])
