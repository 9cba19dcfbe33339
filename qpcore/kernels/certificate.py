"""Certificates of infeasibility (6): multipliers that no x satisfies, directions without end.

Both are looked for twice: in the iterate, which grows along the ray, and in the last step, which is
free of the offset that the iterate started with.
"""

from collections import namedtuple

from qpcore.kernels.kkt import multiply_C_transposed
from qpcore.kernels.linalg import multiply, multiply_symmetric, multiply_transposed
from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, team_sum, where
from qpcore.kernels.stopping import OVERFLOW
from qpcore.status import Status

PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
DUAL_INFEASIBLE = int(Status.DUAL_INFEASIBLE)

# A candidate: a direction x with C x, or multipliers v and y. Its other products stand apart.
Ray = namedtuple("Ray", "x v y Cx")


@kernel
def find_certificate(work, status, parameters, sizes, team):
    """The status of problems proved infeasible; their rays take the iterate's place."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    multiply_symmetric(products.Qx, qp.K, qp.Q_diagonal, step.x, team)
    multiply_transposed(products.Ax, qp.At, step.x, team)
    multiply(fix.x, qp.At, step.y, team)
    multiply_C_transposed(products.pull, qp, step.v, team)
    for j in range(team.lane, sizes.n, team.width):
        products.pull[j] += fix.x[j]
    barrier(team)
    direction = Ray(step.x, step.v, step.y, step.Cx)
    status = examine_ray(qp, scale, at, direction, products, status, parameters.ray, sizes, team)
    for j in range(team.lane, sizes.n, team.width):
        products.Qx[j] = residual.Qx[j]
        products.pull[j] = residual.Cv[j] + residual.Ay[j]
    for i in range(team.lane, sizes.p, team.width):
        products.Ax[i] = residual.Ax[i]
    barrier(team)
    iterate = Ray(at.x, at.v, at.y, at.Cx)
    return examine_ray(qp, scale, at, iterate, products, status, parameters.ray, sizes, team)


@kernel
def examine_ray(qp, scale, at, ray, products, status, threshold, sizes, team):
    """The status of running problems about which the candidate proves something."""
    # NaN is passed over by `larger`, hence a look at the sum of all that is compared below.
    ordinary = amount(ray, products, sizes, team) < like(OVERFLOW, status)
    reach = -like(threshold, status) * support(qp, ray, sizes, team)
    strays = stray(qp, scale, ray, products, sizes, team)
    blocked = (status < 0) & ordinary & (reach > 0) & (strays <= reach)
    status = where(blocked, like(PRIMAL_INFEASIBLE, status), status)
    descent = -like(threshold, status) * slope(qp, ray, sizes, team)
    rises = rise(qp, scale, ray, products, sizes, team)
    bottomless = (status < 0) & ordinary & (descent > 0) & (rises <= descent)
    status = where(bottomless, like(DUAL_INFEASIBLE, status), status)
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = where(bottomless, ray.x[j], at.x[j])
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = where(blocked, allowed(qp, ray.v[i], i), at.v[i])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(blocked, ray.y[i], at.y[i])
    barrier(team)
    return status


@kernel
def amount(ray, products, sizes, team):
    """Sum of all magnitudes of a candidate; NaN or infinite if one of them is."""
    total = like(0, ray.x[0])
    for j in range(team.lane, sizes.n, team.width):
        total += abs(ray.x[j]) + abs(products.Qx[j]) + abs(products.pull[j])
    for i in range(team.lane, sizes.rows, team.width):
        total += abs(ray.v[i]) + abs(ray.Cx[i])
    for i in range(team.lane, sizes.p, team.width):
        total += abs(ray.y[i]) + abs(products.Ax[i])
    return team_sum(total, team)


@kernel(inline=True)
def allowed(qp, v, i):
    """A row's multiplier, or zero if it belongs to a side that the row does not have."""
    zero = like(0, v)
    upper, lower = qp.fixed[i] + qp.present[0, i] > 0, qp.fixed[i] + qp.present[1, i] > 0
    return where(v > 0, where(upper, v, zero), where(lower, v, zero))


@kernel
def support(qp, ray, sizes, team):
    """The most that vᵀCx + yᵀAx can be at a feasible x: below zero is a contradiction."""
    total = like(0, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        v = allowed(qp, ray.v[i], i)
        total += v * where(v > 0, qp.limit[0, i], qp.limit[1, i])
    for i in range(team.lane, sizes.p, team.width):
        total += qp.b[i] * ray.y[i]
    return team_sum(total, team)


@kernel(inline=True)
def in_both(number, factor):
    """A magnitude in the scale of the matrices or of the data, whichever is larger."""
    return larger(abs(number), abs(number) * factor)


@kernel
def stray(qp, scale, ray, products, sizes, team):
    """The largest entry of Cᵀv + Aᵀy, and of multipliers that belong to no side, in both scales."""
    worst = like(0, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        worst = larger(worst, in_both(products.pull[j], scale.per_x[j]))
    for i in range(team.lane, sizes.rows, team.width):
        homeless = ray.v[i] - allowed(qp, ray.v[i], i)
        worst = larger(worst, in_both(homeless, scale.rows[i]))
    return team_max(worst, team)


@kernel
def slope(qp, ray, sizes, team):
    """The slope qᵀx of the cost along x."""
    total = like(0, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        total += qp.q[j] * ray.x[j]
    return team_sum(total, team)


@kernel
def rise(qp, scale, ray, products, sizes, team):
    """How far x is from a flat direction that no limit blocks, in both scales."""
    worst = like(0, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        worst = larger(worst, in_both(products.Qx[j], scale.per_x[j]))
    for i in range(team.lane, sizes.p, team.width):
        worst = larger(worst, in_both(products.Ax[i], scale.per_y[i]))
    for i in range(team.lane, sizes.rows, team.width):
        Cx = ray.Cx[i]
        blocked = larger(qp.present[0, i] * Cx, -qp.present[1, i] * Cx)
        blocked = larger(larger(blocked, qp.fixed[i] * abs(Cx)), Cx - Cx)
        worst = larger(worst, in_both(blocked, scale.per_rows[i]))
    return team_max(worst, team)


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
