"""Ruiz equilibration: every row and column of the KKT matrix gets a largest entry near one (15).

Scaled quantities are what the solver works with; residuals are judged, and answers given, on the
original data. With factors D of variables, E of rows of C, F of rows of A, and c of the cost:

    Q -> c D Q D,  q -> c D q,  G -> E G D,  A -> F A D,  limits -> E limits,  b -> F b,
    x = D x^,  v = E v^ / c,  y = F y^ / c.

A bound's row in C stays a row of the identity, so its E is 1/D. All factors come from the matrices
alone, so that a batch that shares them is scaled once.
"""

import math

from qpcore.kernels.dense import largest_entries
from qpcore.kernels.linalg import own_from
from qpcore.kernels.machine import any_lane, barrier, kernel, larger, like, team_max, where

# Rounds at most; a problem is done when all norms lie within this factor of one.
ROUNDS = 10
NEAR = 10.0


@kernel
def equilibrate(qp, scale, sizes, team):
    """Scale the matrices of a problem in place, and note the factors."""
    one = like(1, qp.q[0])
    fill_ones(scale.x, one, team)
    fill_ones(scale.y, one, team)
    fill_ones(scale.rows, one, team)
    fill_ones(scale.cost, one, team)
    for _ in range(ROUNDS):
        largest_entries(qp, scale, team)
        far = choose_factors(qp, scale, sizes, team)
        if not any_lane(far):
            break
        apply_factors(qp, scale, far, sizes, team)
    for j in range(team.lane, sizes.n, team.width):
        scale.per_x[j] = one / scale.x[j]
        if sizes.rows > sizes.m:
            scale.rows[sizes.m + j] = scale.per_x[j]
    for i in range(team.lane, sizes.p, team.width):
        scale.per_y[i] = one / scale.y[i]
    barrier(team)
    for i in range(team.lane, sizes.rows, team.width):
        scale.per_rows[i] = one / scale.rows[i]
    barrier(team)


@kernel
def fill_ones(v, one, team):
    """Set v = 1."""
    for i in range(team.lane, v.shape[0], team.width):
        v[i] = one
    barrier(team)


@kernel
def largest_curvature(qp, sizes, team):
    """Largest diagonal entry of Q, which is its largest entry if Q is semidefinite."""
    most = like(0, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        most = larger(most, abs(qp.Q_diagonal[j]))
    return team_max(most, team)


@kernel
def choose_factors(qp, scale, sizes, team):
    """Turn norms into factors 1/sqrt(norm), or ones where all norms are near one already.

    Returned is where they are not; if they are everywhere, norms are left as they are.
    """
    one, near = like(1, scale.x[0]), like(NEAR, scale.x[0])
    most, least = one, one
    for norms, size in ((scale.per_x, sizes.n), (scale.per_y, sizes.p), (scale.per_rows, sizes.m)):
        for i in range(team.lane, size, team.width):
            norms[i] = where(norms[i] > 0, norms[i], one)
            most = larger(most, norms[i])
            least = where(norms[i] < least, norms[i], least)
    curvature = largest_curvature(qp, sizes, team)
    least = where((curvature > 0) & (curvature < least), curvature, least)
    far = (team_max(most, team) > near) | (-team_max(-least, team) * near < one)
    if not any_lane(far):
        return far
    for norms, size in ((scale.per_x, sizes.n), (scale.per_y, sizes.p), (scale.per_rows, sizes.m)):
        for i in range(team.lane, size, team.width):
            norms[i] = where(far, one / math.sqrt(norms[i]), one)
    barrier(team)
    return far


@kernel
def apply_factors(qp, scale, far, sizes, team):
    """Multiply the matrices by the chosen factors and the cost by its own, and note them all."""
    n, m, one = sizes.n, sizes.m, like(1, qp.q[0])
    for j in range(team.lane, n, team.width):
        qp.Q_diagonal[j] *= scale.per_x[j] * scale.per_x[j]
        scale.x[j] *= scale.per_x[j]
    for i in range(team.lane, sizes.p, team.width):
        scale.y[i] *= scale.per_y[i]
    for k in range(team.lane, m, team.width):
        scale.rows[k] *= scale.per_rows[k]
    barrier(team)
    curvature = largest_curvature(qp, sizes, team)
    cost = where(far & (curvature > 0), one / curvature, one)
    for j in range(n):
        factor = scale.per_x[j]
        for k in range(own_from(j + 1, team), n, team.width):
            qp.K[j, k] *= factor * scale.per_x[k] * cost
        for i in range(team.lane, sizes.p, team.width):
            qp.At[j, i] *= factor * scale.per_y[i]
        for k in range(team.lane, m, team.width):
            qp.Gt[j, k] *= factor * scale.per_rows[k]
    for j in range(team.lane, n, team.width):
        qp.Q_diagonal[j] *= cost
    if team.lane == 0:
        scale.cost[0] *= cost
    barrier(team)


@kernel
def scale_vectors(qp, scale, sizes, team):
    """Bring q, b and the limits to the scale of the matrices."""
    for j in range(team.lane, sizes.n, team.width):
        qp.q[j] *= scale.x[j] * scale.cost[0]
    for i in range(team.lane, sizes.p, team.width):
        qp.b[i] *= scale.y[i]
    for i in range(team.lane, sizes.rows, team.width):
        for side in range(2):
            qp.limit[side, i] *= scale.rows[i]
    barrier(team)


@kernel
def to_original(point, scale, per_cost, sizes, team):
    """A point in the scale of the data; per_cost: 1 / c, or 1 for a ray, whose size is free."""
    for j in range(team.lane, sizes.n, team.width):
        point.x[j] *= scale.x[j]
    for i in range(team.lane, sizes.rows, team.width):
        point.v[i] *= scale.rows[i] * per_cost
    for i in range(team.lane, sizes.p, team.width):
        point.y[i] *= scale.y[i] * per_cost
    barrier(team)


@kernel
def from_original(at, scale, sizes, team):
    """The iterate in the scale of the matrices."""
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] *= scale.per_x[j]
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] *= scale.per_rows[i] * scale.cost[0]
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] *= scale.per_y[i] * scale.cost[0]
    barrier(team)
