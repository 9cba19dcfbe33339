"""When to stop: residuals small enough (5), or a certificate that there is no solution (6)."""

from collections import namedtuple

from qpcore.kernels.machine import kernel, larger, like, team_max, team_sum, where
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
PRIMAL_INFEASIBLE = int(Status.PRIMAL_INFEASIBLE)
DUAL_INFEASIBLE = int(Status.DUAL_INFEASIBLE)
RUNNING = -1

# Beyond this size a number is taken for overflow; far below the largest float32.
OVERFLOW = 1e30

# A residual and the largest of its terms, as the design's stopping rule pairs them (5).
Dual = namedtuple("Dual", "residual size curvature ray")
Primal = namedtuple("Primal", "residual size recession")
Gap = namedtuple("Gap", "residual size slope support")


@kernel
def verdict(qp, at, residual, parameters, sizes, team):
    """SOLVED, a kind of infeasibility, or RUNNING."""
    dual = measure_dual(qp, at, residual, sizes, team)
    primal = measure_primal(qp, residual, sizes, team)
    gap = measure_gap(qp, at, residual, sizes, team)
    tol = parameters.tol
    solved = (
        (dual.residual <= tol + tol * dual.size)
        & (primal.residual <= tol + tol * primal.size)
        & (gap.residual <= tol + tol * gap.size)
        & (larger(larger(dual.size, primal.size), gap.size) < OVERFLOW)
    )
    # (6): the multipliers prove that no x is feasible, or x is a direction of endless descent.
    reach = -parameters.ray * gap.support
    no_point = (reach > 0) & (dual.ray <= reach)
    descent = -parameters.ray * gap.slope
    no_bottom = (descent > 0) & (larger(dual.curvature, primal.recession) <= descent)
    running = like(RUNNING, tol + qp.q[0])
    status = where(no_bottom, like(DUAL_INFEASIBLE, running), running)
    status = where(no_point, like(PRIMAL_INFEASIBLE, running), status)
    return where(solved, like(SOLVED, running), status)


@kernel
def measure_dual(qp, at, residual, sizes, team):
    """‖Qx + q + Cᵀv + Aᵀy‖ and its terms."""
    worst = like(0, qp.q[0])
    size, curvature, ray = worst, worst, worst
    for j in range(team.lane, sizes.n, team.width):
        worst = larger(worst, abs(residual.dual[j]))
        box = at.v[sizes.m + j] if sizes.rows > sizes.m else qp.q[j] - qp.q[j]
        curvature = larger(curvature, abs(residual.Qx[j]))
        ray = larger(ray, abs(residual.Cv[j] + residual.Ay[j]))
        size = larger(size, abs(qp.q[j]))
        size = larger(size, abs(residual.Cv[j] - box))
        size = larger(size, abs(box))
        size = larger(size, abs(residual.Ay[j]))
    worst = team_max(worst, team)
    curvature = team_max(curvature, team)
    ray = team_max(ray, team)
    return Dual(worst, larger(curvature, team_max(size, team)), curvature, ray)


@kernel
def measure_primal(qp, residual, sizes, team):
    """The worst violation of rows and equalities, its terms, and how far x is from a free direction."""
    worst = like(0, qp.q[0])
    size, recession = worst, worst
    for i in range(team.lane, sizes.rows, team.width):
        Cx, fixed = residual.Cx[i], qp.fixed[i]
        bounded = fixed + qp.present[0, i] + qp.present[1, i] > 0
        size = larger(size, where(bounded, abs(Cx), size) if i >= sizes.m else abs(Cx))
        worst = larger(worst, fixed * abs(Cx - qp.limit[0, i]))
        recession = larger(recession, fixed * abs(Cx))
        for side in range(2):
            outward = Cx if side == 0 else -Cx
            limit = qp.limit[side, i] if side == 0 else -qp.limit[side, i]
            worst = larger(worst, qp.present[side, i] * (outward - limit))
            recession = larger(recession, qp.present[side, i] * outward)
            size = larger(size, abs(limit))
    for i in range(team.lane, sizes.p, team.width):
        worst = larger(worst, abs(residual.equality[i]))
        size = larger(size, larger(abs(residual.Ax[i]), abs(qp.b[i])))
        recession = larger(recession, abs(residual.Ax[i]))
    worst = team_max(worst, team)
    recession = team_max(recession, team)
    return Primal(worst, team_max(size, team), recession)


@kernel
def measure_gap(qp, at, residual, sizes, team):
    """xᵀQx + qᵀx + bᵀy + support of the rows at v, and its terms."""
    zero = like(0, qp.q[0])
    quadratic, slope, right, rows, box = zero, zero, zero, zero, zero
    for j in range(team.lane, sizes.n, team.width):
        quadratic += at.x[j] * residual.Qx[j]
        slope += qp.q[j] * at.x[j]
    for i in range(team.lane, sizes.p, team.width):
        right += qp.b[i] * at.y[i]
    for i in range(team.lane, sizes.m, team.width):
        rows += at.v[i] * where(at.v[i] > 0, qp.limit[0, i], qp.limit[1, i])
    for i in range(sizes.m + team.lane, sizes.rows, team.width):
        box += at.v[i] * where(at.v[i] > 0, qp.limit[0, i], qp.limit[1, i])
    quadratic = team_sum(quadratic, team)
    slope = team_sum(slope, team)
    right = team_sum(right, team)
    rows = team_sum(rows, team)
    box = team_sum(box, team)
    support = right + rows + box
    size = larger(larger(abs(quadratic), abs(slope)), abs(right))
    size = larger(size, larger(abs(rows), abs(box)))
    return Gap(abs(quadratic + slope + support), size, slope, support)
