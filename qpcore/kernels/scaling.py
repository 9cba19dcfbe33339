"""Ruiz equilibration: every row and column of the KKT matrix gets a largest entry near one (15).

Scaled quantities are what the solver works with; residuals are judged, and answers given, on the
original data. With factors D of variables, E of rows of C, F of rows of A, and c of the cost:

    Q -> c D Q D,  q -> c D q,  G -> E G D,  A -> F A D,  limits -> E limits,  b -> F b,
    x = D x^,  v = E v^ / c,  y = F y^ / c.

A bound's row in C stays a row of the identity, so its E is 1/D. All factors come from the matrices
alone, so that a batch that shares them is scaled once.
"""

import math

from qpcore.kernels.linalg import gather, own_from, scatter
from qpcore.kernels.machine import any_lane, barrier, kernel, larger, like, team_max, where
from qpcore.kernels.rows import TILE, column, four

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
        column_norms(qp, scale, sizes, team)
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
def column_norms(qp, scale, sizes, team):
    """Largest entry of each row of the KKT matrix: variables in per_x, then per_y and per_rows."""
    n, m, zero = sizes.n, sizes.m, like(0, qp.q[0])
    for j in range(team.lane, n, team.width):
        scale.per_x[j] = abs(qp.Q_diagonal[j])
    for i in range(team.lane, sizes.p, team.width):
        scale.per_y[i] = zero
    for k in range(team.lane, m, team.width):
        scale.per_rows[k] = zero
    barrier(team)
    for start in range(0, n, TILE):
        i = four(start, n)
        worst = (zero, zero, zero, zero)
        worst = note_norms(scale.per_x, qp.K, i, worst, own_from(start + TILE, team), n, team)
        worst = note_norms(scale.per_y, qp.At, i, worst, team.lane, sizes.p, team)
        worst = note_norms(scale.per_rows, qp.Gt, i, worst, team.lane, m, team)
        worst = (
            team_max(worst[0], team),
            team_max(worst[1], team),
            team_max(worst[2], team),
            team_max(worst[3], team),
        )
        if team.lane == 0:
            note_norms_of_tile(scale.per_x, qp.K, start, min(start + TILE, n), worst)
        barrier(team)


@kernel(inline=True)
def note_norms(norms, M, i, worst, start, stop, team):
    """Largest entries of columns start..stop in four rows, and of each of the rows.

    Four rows at a time, since each maximum waits for the one before it.
    """
    for k in range(start, stop, team.width):
        m = column(M, i, k)
        a, b, c, d = abs(m[0]), abs(m[1]), abs(m[2]), abs(m[3])
        norms[k] = larger(norms[k], larger(larger(a, b), larger(c, d)))
        worst = larger(worst[0], a), larger(worst[1], b), larger(worst[2], c), larger(worst[3], d)
    return worst


@kernel(inline=True)
def note_norms_of_tile(norms, K, start, stop, worst):
    """The largest entries right of the tile's rows, and those of the tile itself."""
    scatter(norms, start, stop, larger_of(gather(norms, four(start, stop), start, stop), worst))
    for a in range(start, stop):
        for b in range(a + 1, stop):
            size = abs(K[a, b])
            norms[a], norms[b] = larger(norms[a], size), larger(norms[b], size)


@kernel(inline=True)
def larger_of(v, w):
    """The larger ones of two four-vectors."""
    return larger(v[0], w[0]), larger(v[1], w[1]), larger(v[2], w[2]), larger(v[3], w[3])


@kernel
def largest_curvature(qp, sizes, team):
    """Largest diagonal entry of Q, which is its largest entry if Q is semidefinite."""
    most = like(0, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        most = larger(most, abs(qp.Q_diagonal[j]))
    return team_max(most, team)


@kernel
def choose_factors(qp, scale, sizes, team):
    """Turn norms into factors 1/sqrt(norm); ones, and False, where all norms are near one."""
    one, near = like(1, scale.x[0]), like(NEAR, scale.x[0])
    most = one
    for norms, size in ((scale.per_x, sizes.n), (scale.per_y, sizes.p), (scale.per_rows, sizes.m)):
        for i in range(team.lane, size, team.width):
            norms[i] = where(norms[i] > 0, norms[i], one)
            most = larger(most, larger(norms[i], one / norms[i]))
    curvature = largest_curvature(qp, sizes, team)
    most = larger(team_max(most, team), where(curvature > 0, one / curvature, one))
    far = most > near
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
