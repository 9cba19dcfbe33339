"""Between the drivers' arrays and a Work: one problem an array entry there, a slot of a pack here.

A slot is a problem's place in a pack; where elements are floats there is one slot.
"""

from collections import namedtuple

import numpy as np

from qpcore.kernels.machine import barrier, get, kernel, like, put
from qpcore.kernels.scaling import equilibrate, scale_vectors
from qpcore.status import Status

# A limit of this magnitude or more, or an infinite one, is no limit.
INFINITE = 1e20

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)
PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
DUAL_INFEASIBLE = int(Status.DUAL_INFEASIBLE)

# Arrays (batch, ·) that go in and out, one row a problem.
Result = namedtuple("Result", "x z y z_box status iterations")
Vectors = namedtuple("Vectors", "x z y z_box")


@kernel
def load(work, data, sizes, first, slots, again, team):
    """Bring problems first.. into the slots, equilibrated; `again`: shared matrices still are.

    Beyond the end of the batch the last problem fills the slots.
    """
    qp, batch = work.qp, data.entry.shape[1]
    fresh = not again or data.Q.shape[0] > 1 or data.G.shape[0] > 1 or data.A.shape[0] > 1
    if fresh:
        load_Q(qp, data, first, slots, batch, team)
        load_G(qp, data, first, slots, batch, team)
        load_A(qp, data, first, slots, batch, team)
    for slot in range(slots):
        problem = min(first + slot, batch - 1)
        load_vector(qp.q, data.q, data.entry[1, problem], slot, team)
        if sizes.p > 0:
            load_vector(qp.b, data.b, data.entry[5, problem], slot, team)
        load_limits(qp, 0, 0, sizes.m, data.h, data.entry[3, problem], slot, team)
        load_limits(qp, 1, 0, sizes.m, data.h_lower, data.entry[8, problem], slot, team)
        load_limits(qp, 0, sizes.m, sizes.rows, data.ub, data.entry[7, problem], slot, team)
        load_limits(qp, 1, sizes.m, sizes.rows, data.lb, data.entry[6, problem], slot, team)
    barrier(team)
    if fresh:
        equilibrate(qp, work.scale, sizes, team)
    scale_vectors(qp, work.scale, sizes, team)


@kernel
def load_Q(qp, data, first, slots, batch, team):
    """Q's symmetric part: diagonal and strict upper triangle; zeros below A's part of K."""
    n, size = qp.q.shape[0], qp.K.shape[0]
    half = like(0.5, data.Q[0, 0, 0])
    for i in range(n):
        for slot in range(slots):
            Q = data.Q[data.entry[0, min(first + slot, batch - 1)]]
            if team.lane == 0:
                put(qp.Q_diagonal, (i,), slot, Q[i, i])
            for j in range(i + 1 + team.lane, n, team.width):
                put(qp.K, (i, j), slot, half * (Q[i, j] + Q[j, i]))
    for i in range(size):
        for j in range((i if i < n else n) + team.lane, size, team.width):
            if i == j or i >= n:
                qp.K[i, j] = like(0, qp.K[i, j])


@kernel
def load_G(qp, data, first, slots, batch, team):
    """Gᵀ."""
    n, m = qp.Gt.shape
    for i in range(m):
        for slot in range(slots):
            G = data.G[data.entry[2, min(first + slot, batch - 1)]]
            for j in range(team.lane, n, team.width):
                put(qp.Gt, (j, i), slot, G[i, j])


@kernel
def load_A(qp, data, first, slots, batch, team):
    """Aᵀ, into the upper triangle of K."""
    n, p = qp.q.shape[0], qp.b.shape[0]
    for i in range(p):
        for slot in range(slots):
            A = data.A[data.entry[4, min(first + slot, batch - 1)]]
            for j in range(team.lane, n, team.width):
                put(qp.K, (j, n + i), slot, A[i, j])


@kernel
def load_vector(out, values, entry, slot, team):
    """A vector of one problem."""
    for i in range(team.lane, out.shape[0], team.width):
        put(out, (i,), slot, values[entry, i])


@kernel
def load_limits(qp, side, start, stop, values, entry, slot, team):
    """Limits of some rows on one side; those that are none, or not given, are marked absent."""
    given = values.shape[1] > 0
    for i in range(start + team.lane, stop, team.width):
        present = given and not abs(values[entry, i - start]) >= INFINITE  # NaN is a limit: a flaw
        put(qp.limit, (side, i), slot, values[entry, i - start] if present else 0)
        put(qp.present, (side, i), slot, 1 if present else 0)


@kernel
def store(result, work, sizes, first, slots, team):
    """Hand out the answers in the slots; what has no meaning becomes NaN.

    A certificate takes the place of the variables that it lives in, with largest entry 1.
    """
    barrier(team)
    for slot in range(slots):
        problem = first + slot
        if problem < result.status.shape[0]:
            status = int(get(work.outcome, (0,), slot))
            iterate = status == SOLVED or status == MAX_ITERATIONS
            primal = iterate or status == DUAL_INFEASIBLE
            dual = iterate or status == PRIMAL_INFEASIBLE
            at = work.at
            store_vector(result.x[problem], at.x, 0, primal, slot, team)
            store_vector(result.y[problem], at.y, 0, dual, slot, team)
            store_vector(result.z[problem], at.v, 0, dual, slot, team)
            store_vector(result.z_box[problem], at.v, sizes.m, dual, slot, team)
            if team.lane == 0:
                result.status[problem] = status
                result.iterations[problem] = int(get(work.outcome, (1,), slot))
    barrier(team)


@kernel
def store_vector(out, values, start, meaningful, slot, team):
    """One problem's numbers from start on; zeros where there are none, NaN if meaningless."""
    for i in range(team.lane, out.shape[0], team.width):
        if not meaningful:
            out[i] = np.nan
        elif start + i < values.shape[0]:
            out[i] = get(values, (start + i,), slot)
        else:
            out[i] = 0


@kernel
def load_cotangents(work, answer, cotangents, sizes, first, slots, team):
    """Bring answers and cotangents into the places where `differentiate` expects them."""
    batch = answer.x.shape[0]
    at, residual = work.at, work.residual
    for slot in range(slots):
        i = min(first + slot, batch - 1)
        load_vector(at.x, answer.x, i, slot, team)
        load_vector(at.y, answer.y, i, slot, team)
        load_vector(at.v[: sizes.m], answer.z, i, slot, team)
        load_vector(at.v[sizes.m :], answer.z_box, i, slot, team)
        load_vector(residual.Qx, cotangents.x, i, slot, team)
        load_vector(residual.Ax, cotangents.y, i, slot, team)
        load_vector(residual.sides[0, : sizes.m], cotangents.z, i, slot, team)
        load_vector(residual.sides[0, sizes.m :], cotangents.z_box, i, slot, team)
    barrier(team)


@kernel
def store_adjoint(adjoint, work, sizes, first, slots, team):
    """Hand out the solution of the adjoint system."""
    barrier(team)
    for slot in range(slots):
        i = first + slot
        if i < adjoint.x.shape[0]:
            store_vector(adjoint.x[i], work.at.x, 0, True, slot, team)
            store_vector(adjoint.y[i], work.at.y, 0, True, slot, team)
            store_vector(adjoint.z[i], work.at.v, 0, True, slot, team)
            store_vector(adjoint.z_box[i], work.at.v, sizes.m, True, slot, team)
    barrier(team)
