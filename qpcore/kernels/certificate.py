"""Certificates of infeasibility (6): multipliers that no x satisfies, directions without end.

Both are answers of QPs that always have one, and that the same method solves: how far the rows must
give way, and which part of -q is a way down that nothing blocks. `pose` makes such a QP of a
problem, `prove` says whether its iterate is proof enough.
"""

from numba.extending import register_jitable

from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, team_sum, where
from qpcore.kernels.stopping import OVERFLOW
from qpcore.status import Status

PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
DUAL_INFEASIBLE = int(Status.DUAL_INFEASIBLE)

# Negative statuses are for problems that no stage has decided yet: at work; or given up, with what
# is known: that the rows held at the last iterate, up to the tolerance, which lies far out if there
# is no end; that they hold somewhere; that nothing falls without end (added to the others).
RUNNING, UNDECIDED, PLAUSIBLE, FEASIBLE = -1, -2, -3, -4
BOUNDED = -4

# Another negative status: its point is close to the answer, in float32.
GUESSED = -9

# What is sought: the minimum, or a ray that shows that there is none.
MINIMUM, FARKAS_RAY, DESCENT_RAY, ACTIVE_SET, DUAL, COLD = 0, 1, 2, 3, 4, 5

# Q is made stiffer from this accuracy on, relative to that which is sought.
CLOSE = 1e14

# How much larger residuals of a ray may be in the scale of the data than in that of the matrices.
SLACK = 10.0

# Rays smaller than this, relative to the limits or to the slope, are none: a proof would need
# residuals below rounding.
NOTHING = 1e-11


@register_jitable
def is_left_to(sought, status):
    """Whether a stage that seeks this is to look at a problem: a number in kernels, or an array.

    A ray is not sought where it is known not to be.
    """
    if sought == FARKAS_RAY:
        return (status == UNDECIDED) | (status == UNDECIDED + BOUNDED)
    if sought == DESCENT_RAY:
        return (status < 0) & (status > UNDECIDED + BOUNDED)
    if sought == ACTIVE_SET:
        return status == GUESSED
    return status < 0


# ---- the QPs whose answers are rays --------------------------------------------------------------


@kernel
def pose(qp, best, system, parameters, sizes, team):
    """Turn an equilibrated problem into the QP whose answer is the ray that is sought."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    sought = parameters.sought
    if team.lane == 0:
        system.soft[0] = one if sought == FARKAS_RAY else zero
    if sought == FARKAS_RAY:
        weigh_objective(qp, zero, zero, sizes, team)
        for j in range(team.lane, sizes.n, team.width):
            qp.q[j] = zero
    if sought == DESCENT_RAY:
        weigh_objective(qp, like(parameters.stiff, zero), one, sizes, team)
        for j in range(team.lane, sizes.n, team.width):
            best.x[j] = qp.q[j]
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
def prove(work, status, over, above, parameters, sizes, team):
    """The status of running problems whose iterate is the proof that is sought.

    Of those whose search is over, less is asked.
    """
    threshold = parameters.ray
    if parameters.sought == FARKAS_RAY:
        proved = proves_infeasible(work, over, threshold, sizes, team)
        return where((status == RUNNING) & proved, like(PRIMAL_INFEASIBLE, status), status)
    proved = proves_unbounded(work, over, parameters.stiff, threshold, sizes, team)
    return where((status == RUNNING) & proved, like(DUAL_INFEASIBLE, status), status)


@kernel
def stiffen(work, above, sizes, team):
    """Let what Q still feels of a direction push against it: a step of the method of multipliers.

    The pressure, which ends where Qx = 0, becomes part of q; q as it was stands in `best.x`.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    close = above.good < like(CLOSE, above.good)
    for j in range(team.lane, sizes.n, team.width):
        felt = residual.Qx[j] - at.x[j]
        qp.q[j] = where(close, qp.q[j] + felt, qp.q[j])
        residual.dual[j] = where(close, residual.dual[j] + felt, residual.dual[j])
    barrier(team)


@kernel
def vanishes(work, sought, sizes, team):
    """Whether the ray shrinks to nothing, so that there is none to find."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    ray, most = like(0, qp.q[0]), like(0, qp.q[0])
    if sought == FARKAS_RAY:
        for i in range(team.lane, sizes.rows, team.width):
            ray = larger(ray, abs(at.v[i]))
            most = larger(most, larger(abs(qp.limit[0, i]), abs(qp.limit[1, i])))
        for i in range(team.lane, sizes.p, team.width):
            ray, most = larger(ray, abs(at.y[i])), larger(most, abs(qp.b[i]))
    else:
        for j in range(team.lane, sizes.n, team.width):
            ray, most = larger(ray, abs(at.x[j])), larger(most, abs(best.x[j]))
    return team_max(ray, team) <= like(NOTHING, ray) * team_max(most, team)


@kernel(inline=True)
def learned(came, vanished, sought):
    """The negative status of a problem in which no ray was found."""
    undecided, feasible = like(UNDECIDED, came), like(FEASIBLE, came)
    if sought == FARKAS_RAY:
        return where(vanished, came + (feasible - undecided), came)
    known = where(came == like(PLAUSIBLE, came), undecided, came)
    return where(vanished, known + like(BOUNDED, came), known)


@kernel(inline=True)
def is_ordinary(sizes, ray_given):
    """Whether nothing has overflowed, and the ray is of a size that can be scaled."""
    most = like(OVERFLOW, sizes)
    return (sizes < most) & (ray_given < most) & (like(1, most) < ray_given * most)


@kernel(inline=True)
def is_proof(gain, most, left, left_given, over, threshold):
    """Whether a ray gains more than rounding of its terms, and leaves little over beside that.

    In the scale of the matrices and, unless the search is over, in that of the data too.
    """
    share = like(threshold, gain) * gain
    clear = gain > like(threshold, gain) * most
    return clear & (left <= share) & (over | (left_given <= like(SLACK, gain) * share))


@kernel
def proves_infeasible(work, over, threshold, sizes, team):
    """Whether Cᵀv + Aᵀy = 0 while vᵀCx + yᵀAx < 0 at every feasible x (6)."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
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
    depth, most = -team_sum(total, team), team_max(most, team)
    ray, ray_given = team_max(ray, team), team_max(ray_given, team)
    stray, stray_given = team_max(stray, team), team_max(stray_given, team)
    ordinary = is_ordinary(most + ray + stray + stray_given, ray_given)
    left = stray * larger(most, ray) / ray
    left_given = stray_given * larger(most, ray_given) / ray_given
    return ordinary & is_proof(depth, most, left, left_given, over, threshold)


@kernel
def proves_unbounded(work, over, stiff, threshold, sizes, team):
    """Whether x is a direction of descent that the quadratic does not feel and no limit blocks (6).

    The quadratic was posed as stiff Q + I.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    zero = like(0, qp.q[0])
    slope, most, steep, steep_given = zero, zero, zero, zero
    ray, ray_given = zero, zero
    bend, bend_given, rise, rise_given = zero, zero, zero, zero
    for j in range(team.lane, sizes.n, team.width):
        x, term = at.x[j], best.x[j] * at.x[j]
        slope += term
        most = larger(most, abs(term))
        size = abs(best.x[j])
        steep, steep_given = larger(steep, size), larger(steep_given, size * scale.per_x[j])
        ray, ray_given = larger(ray, abs(x)), larger(ray_given, abs(x) * scale.x[j])
        left = abs(residual.Qx[j] - x) / stiff
        bend, bend_given = larger(bend, left), larger(bend_given, left * scale.per_x[j])
    for i in range(team.lane, sizes.p, team.width):
        left = abs(residual.Ax[i])
        rise, rise_given = larger(rise, left), larger(rise_given, left * scale.per_y[i])
    for i in range(team.lane, sizes.rows, team.width):
        Cx = at.Cx[i]
        left = larger(qp.present[0, i] * Cx, -qp.present[1, i] * Cx)
        left = larger(larger(left, qp.fixed[i] * abs(Cx)), zero)
        rise, rise_given = larger(rise, left), larger(rise_given, left * scale.per_rows[i])
    fall, most = -team_sum(slope, team), team_max(most, team)
    ray, ray_given = team_max(ray, team), team_max(ray_given, team)
    steep, steep_given = team_max(steep, team), team_max(steep_given, team)
    bend, bend_given = team_max(bend, team), team_max(bend_given, team)
    rise, rise_given = team_max(rise, team), team_max(rise_given, team)
    ordinary = is_ordinary(most + ray + bend + bend_given + rise + rise_given, ray_given)
    # However steep the objective, what the quadratic does feel stops the fall in the end.
    unfelt = bend <= like(threshold, zero) * ray
    left = larger(bend, rise * steep)
    left_given = larger(bend_given, rise_given * steep_given)
    return ordinary & unfelt & is_proof(fall, most, left, left_given, over, threshold)


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
