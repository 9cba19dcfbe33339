"""Certificates of infeasibility (6): multipliers that no x satisfies, directions without end.

Both are answers of QPs that always have one, and that the same method solves: how far the rows must
give way, and which part of -q is a way down that nothing blocks. `pose` makes such a QP of a
problem, `prove` says whether its iterate is proof enough.
"""

from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, team_sum, where
from qpcore.kernels.stopping import OVERFLOW
from qpcore.status import Status

PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
DUAL_INFEASIBLE = int(Status.DUAL_INFEASIBLE)

# What is sought: the minimum, or a ray that shows that there is none.
MINIMUM, FARKAS_RAY, DESCENT_RAY = 0, 1, 2

# Weight of x'Qx in the search for a direction that Q does not feel.
STIFF = 1e10


# ---- the QPs whose answers are rays --------------------------------------------------------------


@kernel
def pose(qp, system, sought, sizes, team):
    """Turn an equilibrated problem into the QP whose answer is the ray that is sought."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    if team.lane == 0:
        system.soft[0] = one if sought == FARKAS_RAY else zero
    if sought == FARKAS_RAY:
        weigh_objective(qp, zero, zero, sizes, team)
        for j in range(team.lane, sizes.n, team.width):
            qp.q[j] = zero
    if sought == DESCENT_RAY:
        weigh_objective(qp, like(STIFF, zero), one, sizes, team)
        for i in range(team.lane, sizes.p, team.width):
            qp.b[i] = zero
        for side in range(2):
            for i in range(team.lane, sizes.rows, team.width):
                qp.limit[side, i] = zero
    barrier(team)


@kernel
def weigh_objective(qp, factor, ridge, sizes, team):
    """Q := factor Q + ridge I."""
    for i in range(sizes.n):
        for j in range(i + 1 + team.lane, sizes.n, team.width):
            qp.K[i, j] *= factor
    for j in range(team.lane, sizes.n, team.width):
        qp.Q_diagonal[j] = qp.Q_diagonal[j] * factor + ridge


# ---- proofs --------------------------------------------------------------------------------------


@kernel
def prove(work, status, sought, threshold, sizes, team):
    """The status of running problems whose iterate is the proof that is sought."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    if sought == FARKAS_RAY:
        proved = proves_infeasible(qp, scale, at, residual, threshold, sizes, team)
        return where((status < 0) & proved, like(PRIMAL_INFEASIBLE, status), status)
    proved = proves_unbounded(qp, scale, at, residual, threshold, sizes, team)
    return where((status < 0) & proved, like(DUAL_INFEASIBLE, status), status)


@kernel
def proves_infeasible(qp, scale, at, residual, threshold, sizes, team):
    """Whether Cᵀv + Aᵀy = 0 while vᵀCx + yᵀAx < 0 at every feasible x (6).

    Relative to the sizes of v, y and of the terms in the sum, in the scale of the matrices and in
    that of the data.
    """
    zero = like(0, qp.q[0])
    total, most, ray, ray_given, stray, stray_given = zero, zero, zero, zero, zero, zero
    for i in range(team.lane, sizes.rows, team.width):
        v = at.v[i]
        term = v * where(v > 0, qp.limit[0, i], qp.limit[1, i])
        total += term
        most = larger(most, abs(term))
        ray, ray_given = larger(ray, abs(v)), larger(ray_given, abs(v) * scale.rows[i])
    for i in range(team.lane, sizes.p, team.width):
        y, term = at.y[i], qp.b[i] * at.y[i]
        total += term
        most = larger(most, abs(term))
        ray, ray_given = larger(ray, abs(y)), larger(ray_given, abs(y) * scale.y[i])
    for j in range(team.lane, sizes.n, team.width):
        left = abs(residual.Cv[j] + residual.Ay[j])
        stray, stray_given = larger(stray, left), larger(stray_given, left * scale.per_x[j])
    total, most = team_sum(total, team), team_max(most, team)
    ray, ray_given = team_max(ray, team), team_max(ray_given, team)
    stray, stray_given = team_max(stray, team), team_max(stray_given, team)
    share = -like(threshold, zero) * total
    ordinary = most + ray + ray_given + stray + stray_given < like(OVERFLOW, zero)
    clear = -total > like(threshold, zero) * most
    small = (stray * most <= share * ray) & (stray_given * most <= share * ray_given)
    return ordinary & clear & small


@kernel
def proves_unbounded(qp, scale, at, residual, threshold, sizes, team):
    """Whether x is a direction of descent that the quadratic does not feel and no limit blocks (6).

    Relative to the sizes of x and of the terms of qᵀx; Q was posed as STIFF Q + I.
    """
    zero = like(0, qp.q[0])
    slope, most, ray, ray_given, rise, rise_given = zero, zero, zero, zero, zero, zero
    for j in range(team.lane, sizes.n, team.width):
        x, term = at.x[j], qp.q[j] * at.x[j]
        slope += term
        most = larger(most, abs(term))
        ray, ray_given = larger(ray, abs(x)), larger(ray_given, abs(x) * scale.x[j])
        rise = larger(rise, abs(residual.Qx[j] - x) / like(STIFF, x))
    for i in range(team.lane, sizes.p, team.width):
        left = abs(residual.Ax[i])
        rise, rise_given = larger(rise, left), larger(rise_given, left * scale.per_y[i])
    for i in range(team.lane, sizes.rows, team.width):
        Cx = at.Cx[i]
        left = larger(qp.present[0, i] * Cx, -qp.present[1, i] * Cx)
        left = larger(larger(left, qp.fixed[i] * abs(Cx)), zero)
        rise, rise_given = larger(rise, left), larger(rise_given, left * scale.per_rows[i])
    slope, most = team_sum(slope, team), team_max(most, team)
    ray, ray_given = team_max(ray, team), team_max(ray_given, team)
    rise, rise_given = team_max(rise, team), team_max(rise_given, team)
    share = -like(threshold, zero) * slope
    ordinary = most + ray + ray_given + rise + rise_given < like(OVERFLOW, zero)
    clear = -slope > like(threshold, zero) * most
    small = (rise * most <= share * ray) & (rise_given * most <= share * ray_given)
    return ordinary & clear & small


@kernel
def normalise_certificate(at, status, sizes, team):
    """Scale the ray of an infeasible problem to largest entry 1."""
    one = like(1, status)
    ray, direction = one - one, one - one
    for i in range(team.lane, sizes.rows, team.width):
        ray = larger(ray, abs(at.v[i]))
    for i in range(team.lane, sizes.p, team.width):
        ray = larger(ray, abs(at.y[i]))
    for j in range(team.lane, sizes.n, team.width):
        direction = larger(direction, abs(at.x[j]))
    ray, direction = team_max(ray, team), team_max(direction, team)
    over_ray = where(status == PRIMAL_INFEASIBLE, one / ray, one)
    over_direction = where(status == DUAL_INFEASIBLE, one / direction, one)
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] *= over_ray
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] *= over_ray
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] *= over_direction
    barrier(team)
