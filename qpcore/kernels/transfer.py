"""Between the drivers' arrays and a Work: one problem an array entry there, a slot of a pack here.

A slot is a problem's place in a pack; where elements are floats there is one slot.
"""

from collections import namedtuple

import numpy as np

from qpcore.kernels.certificate import MINIMUM
from qpcore.kernels.linalg import own_from
from qpcore.kernels.machine import any_lane, barrier, kernel, larger, like, team_max
from qpcore.kernels.packed import as_floats
from qpcore.kernels.presolve import flaw_of_matrices, flaw_of_vectors
from qpcore.kernels.scaling import equilibrate, scale_vectors
from qpcore.kernels.trace import store_trace
from qpcore.status import Status

# A limit of this magnitude or more, or an infinite one, is no limit.
INFINITE = 1e20

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)
PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
DUAL_INFEASIBLE = int(Status.DUAL_INFEASIBLE)

# Arrays (batch, ·) that go in and out, one row a problem. trace: (batch, iterates, 6), of Notes.
Result = namedtuple("Result", "x z y z_box status iterations trace")
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
        note_coupling(qp, team)
        note_flaw(work.scale, 0, flaw_of_matrices(qp, team), team)
        equilibrate(qp, work.scale, sizes, team)
    note_flaw(work.scale, 1, flaw_of_vectors(qp, team), team)
    scale_vectors(qp, work.scale, sizes, team)


@kernel(inline=True)
def note_flaw(scale, kind, flaw, team):
    """Keep the flaw of the matrices (0) or of the vectors (1)."""
    if team.lane == 0:
        scale.flaw[kind] = flaw
    barrier(team)


@kernel
def note_coupling(qp, team):
    """Note whether variables are coupled; where none are, L gets its zeros below the diagonal."""
    n, m = qp.Gt.shape
    most = like(m, qp.q[0])
    for i in range(n):
        for j in range(own_from(i + 1, team), n, team.width):
            most = larger(most, abs(qp.K[i, j]))
    most = team_max(most, team)
    if team.lane == 0:
        qp.coupled[0] = most
    barrier(team)
    if not any_lane(most > 0):
        for i in range(n):
            for j in range(team.lane, i, team.width):
                qp.K[i, j] = most
        barrier(team)


@kernel
def load_Q(qp, data, first, slots, batch, team):
    """Q's symmetric part: diagonal and strict upper triangle; zeros below A's part of K."""
    n, size = qp.q.shape[0], qp.K.shape[0]
    K, diagonal, Q = as_floats(qp.K), as_floats(qp.Q_diagonal), data.Q
    half = like(0.5, Q[0, 0, 0])
    for i in range(n):
        for slot in range(slots):
            k = data.entry[0, min(first + slot, batch - 1)]
            for j in range(own_from(i + 1, team), n, team.width):
                K[i, j, slot] = half * Q[k, i, j] + half * Q[k, j, i]
            if team.lane == 0:
                diagonal[i, slot] = Q[k, i, i]
                K[i, i, slot] = 0
    for i in range(n, size):
        for j in range(own_from(i, team), size, team.width):
            qp.K[i, j] = like(0, qp.K[i, j])


@kernel
def load_G(qp, data, first, slots, batch, team):
    """Gᵀ."""
    n, m = qp.Gt.shape
    Gt, G = as_floats(qp.Gt), data.G
    for j in range(n):
        for slot in range(slots):
            k = data.entry[2, min(first + slot, batch - 1)]
            for i in range(team.lane, m, team.width):
                Gt[j, i, slot] = G[k, i, j]


@kernel
def load_A(qp, data, first, slots, batch, team):
    """Aᵀ, into the upper triangle of K."""
    n, p = qp.q.shape[0], qp.b.shape[0]
    K, A = as_floats(qp.K), data.A
    for j in range(n):
        for slot in range(slots):
            k = data.entry[4, min(first + slot, batch - 1)]
            for i in range(team.lane, p, team.width):
                K[j, n + i, slot] = A[k, i, j]


@kernel
def load_vector(out, values, k, slot, team):
    """A vector of one problem, entry k."""
    numbers = as_floats(out)
    for i in range(team.lane, out.shape[0], team.width):
        numbers[i, slot] = values[k, i]


@kernel
def load_limits(qp, side, start, stop, values, k, slot, team):
    """Limits of some rows on one side; those that are none, or not given, are marked absent."""
    limit, there = as_floats(qp.limit), as_floats(qp.present)
    for i in range(start + team.lane, stop, team.width):
        zero = like(0, limit[side, i, slot])  # a bare number would promote float32
        # NaN is a limit, and a flaw that shows later
        present = values.shape[1] > 0 and not abs(values[k, i - start]) >= like(INFINITE, zero)
        limit[side, i, slot] = values[k, i - start] if present else zero
        there[side, i, slot] = like(1, zero) if present else zero


@kernel
def load_progress(work, result, first, slots, team):
    """What earlier stages found, and the iterations that they took."""
    outcome = work.outcome
    statuses, iterations = as_floats(outcome.status), as_floats(outcome.iterations)
    before = as_floats(outcome.before)
    if team.lane == 0:
        for slot in range(slots):
            problem = min(first + slot, result.status.shape[0] - 1)
            statuses[0, slot] = result.status[problem]
            iterations[0, slot] = result.iterations[problem]
            before[0, slot] = result.iterations[problem]
    barrier(team)


@kernel
def store(result, work, sought, sizes, first, slots, team):
    """Hand out the answers in the slots; what has no meaning becomes NaN.

    A certificate takes the place of the variables that it lives in, with largest entry 1.
    """
    barrier(team)
    statuses, iterations = as_floats(work.outcome.status), as_floats(work.outcome.iterations)
    before = as_floats(work.outcome.before)
    for slot in range(slots):
        problem = first + slot
        if problem < result.status.shape[0]:
            status = int(statuses[0, slot])
            iterate = status == SOLVED or status == MAX_ITERATIONS or status < 0
            primal = iterate or status == DUAL_INFEASIBLE
            dual = iterate or status == PRIMAL_INFEASIBLE
            # What an earlier stage found stays if this one found nothing, or had no iteration left.
            idle = before[0, slot] > 0 and iterations[0, slot] == before[0, slot] and iterate
            if not idle and (sought == MINIMUM or not iterate):
                at = work.at
                store_vector(result.x[problem], at.x, 0, primal, slot, team)
                store_vector(result.y[problem], at.y, 0, dual, slot, team)
                store_vector(result.z[problem], at.v, 0, dual, slot, team)
                store_vector(result.z_box[problem], at.v, sizes.m, dual, slot, team)
            store_trace(result.trace[problem], work.outcome, slot, team)
            if team.lane == 0:
                result.status[problem] = status
                result.iterations[problem] = int(iterations[0, slot])
    barrier(team)


@kernel
def store_vector(out, values, start, meaningful, slot, team):
    """One problem's numbers from start on; zeros where there are none, NaN if meaningless."""
    numbers = as_floats(values)
    for i in range(team.lane, out.shape[0], team.width):
        if not meaningful:
            out[i] = np.nan
        elif start + i < values.shape[0]:
            out[i] = numbers[start + i, slot]
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
