"""SOLVED: primal and dual residual and gap small beside their terms, in original units (5)."""

from collections import namedtuple

from qpcore.kernels.machine import kernel, larger, like, team_max, team_sum, where

# Beyond this size a term is taken for overflow; far below the largest float32.
OVERFLOW = 1e30

# The gap that is aimed at, beside the objective, as a multiple of the tolerance.
GAP_REACH = 10.0

Measure = namedtuple("Measure", "residual size")

# objective: magnitude of the primal one.
Gap = namedtuple("Gap", "residual size objective")

# linear: what is left of the equations, slacks included, where the residual is of violations alone.
# given: the largest magnitude among the limits and b.
Primal = namedtuple("Primal", "residual linear size given")

# Residuals over what is allowed: dual, primal, that of the equations with slacks; the largest of
# dual, primal and gap, the last two also measured by limits and objective (5); the largest of the
# three as it is aimed at.
Excess = namedtuple("Excess", "dual primal linear good aim")


@kernel
def excess(work, tol, reach, sizes, team):
    """How far each residual is above the tolerance (5); infinite where numbers have overflowed."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    soft = system.soft[0]
    dual = measure_dual(qp, scale, at, residual, sizes, team)
    primal = measure_primal(qp, scale, at, residual, soft, sizes, team)
    gap = measure_gap(qp, scale, at, residual, soft, sizes, team)
    largest = larger(larger(dual.size, primal.size), gap.size)
    most = like(OVERFLOW, largest)
    sane = (largest < most) & (gap.residual < most)  # `larger` passes over NaN, a sum does not
    d = where(sane, dual.residual / (tol + tol * dual.size), most)
    p = where(sane, primal.residual / (tol + tol * primal.size), most)
    linear = where(sane, primal.linear / (tol + tol * primal.size), most)
    g = where(sane, gap.residual / (tol + tol * gap.size), most)
    contract = larger(larger(d, p), g)
    one = like(1, contract)
    relative = gap.residual / (one + gap.objective)
    far = tol * reach
    fair = larger(relative, primal.residual / (one + primal.given)) / far
    close = larger(dual.residual, primal.residual) / far
    close = larger(close, relative / (tol * like(GAP_REACH, tol)))
    good = where(sane, larger(contract, fair), most)
    aim = where(sane, larger(contract, close), most)
    return Excess(d, p, linear, good, aim)


@kernel
def measure_dual(qp, scale, at, residual, sizes, team):
    """‖Qx + q + Cᵀv + Aᵀy‖ and its terms."""
    worst = like(0, qp.q[0])
    size = worst
    for j in range(team.lane, sizes.n, team.width):
        box = at.v[sizes.m + j] if sizes.rows > sizes.m else qp.q[j] - qp.q[j]
        most = larger(abs(residual.Qx[j]), abs(qp.q[j]))
        most = larger(most, larger(abs(residual.Cv[j] - box), abs(box)))
        most = larger(most, abs(residual.Ay[j]))
        size = larger(size, most * scale.per_x[j])
        worst = larger(worst, abs(residual.dual[j]) * scale.per_x[j])
    per_cost = like(1, worst) / scale.cost[0]
    return Measure(team_max(worst, team) * per_cost, team_max(size, team) * per_cost)


@kernel
def measure_primal(qp, scale, at, residual, soft, sizes, team):
    """The worst violation of rows and equalities, and the terms."""
    worst = like(0, qp.q[0])
    size, given, linear = worst, worst, worst
    for i in range(team.lane, sizes.rows, team.width):
        Cx, upper, lower = at.Cx[i] - soft * at.v[i], qp.limit[0, i], qp.limit[1, i]
        above = (qp.present[0, i] + qp.fixed[i]) * (Cx - upper)
        below = (qp.present[1, i] + qp.fixed[i]) * (lower - Cx)
        worst = larger(worst, larger(above, below) * scale.per_rows[i])
        left = larger(abs(residual.sides[0, i]), abs(residual.sides[1, i]))
        linear = larger(linear, left * scale.per_rows[i])
        most = larger(abs(upper), abs(lower))
        given = larger(given, most * scale.per_rows[i])
        bounded = qp.fixed[i] + qp.present[0, i] + qp.present[1, i] > 0
        most = larger(most, where(bounded, abs(Cx), most) if i >= sizes.m else abs(Cx))
        size = larger(size, most * scale.per_rows[i])
    for i in range(team.lane, sizes.p, team.width):
        worst = larger(worst, abs(residual.equality[i]) * scale.per_y[i])
        size = larger(size, abs(residual.Ax[i]) * scale.per_y[i])
        given = larger(given, abs(qp.b[i]) * scale.per_y[i])
    given, worst = team_max(given, team), team_max(worst, team)
    linear = larger(team_max(linear, team), worst)
    return Primal(worst, linear, larger(team_max(size, team), given), given)


@kernel
def measure_gap(qp, scale, at, residual, soft, sizes, team):
    """|xᵀQx + qᵀx + bᵀy + support of the rows at v| and its terms."""
    zero = like(0, qp.q[0])
    quadratic, slope, right, rows, box, given = zero, zero, zero, zero, zero, zero
    for j in range(team.lane, sizes.n, team.width):
        quadratic += at.x[j] * residual.Qx[j]
        slope += qp.q[j] * at.x[j]
    for i in range(team.lane, sizes.p, team.width):
        right += qp.b[i] * at.y[i]
        given += at.y[i] * at.y[i]
    for i in range(team.lane, sizes.rows, team.width):
        given += at.v[i] * at.v[i]
    for i in range(team.lane, sizes.m, team.width):
        rows += at.v[i] * where(at.v[i] > 0, qp.limit[0, i], qp.limit[1, i])
    for i in range(sizes.m + team.lane, sizes.rows, team.width):
        box += at.v[i] * where(at.v[i] > 0, qp.limit[0, i], qp.limit[1, i])
    quadratic, slope = team_sum(quadratic, team), team_sum(slope, team)
    right, rows, box = team_sum(right, team), team_sum(rows, team), team_sum(box, team)
    given = soft * team_sum(given, team)
    size = larger(larger(larger(abs(quadratic), abs(slope)), abs(right)), given)
    size = larger(size, larger(abs(rows), abs(box)))
    per_cost = like(1, size) / scale.cost[0]
    gap = abs(quadratic + slope + right + rows + box + given)
    objective = abs(like(0.5, size) * quadratic + slope)
    return Gap(gap * per_cost, size * per_cost, objective * per_cost)
