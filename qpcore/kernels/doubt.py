"""Whether rounding may have fooled the measures that SOLVED rests on (5); see `promise.py`.

The mass of a residual, the sum of the magnitudes of its terms, bounds what rounding does to it, and
norms bound the mass: no entry of Q exceeds the product of the roots of those of its diagonal, and
no row of G or A is longer than all of them together.
"""

import math
from collections import namedtuple

from qpcore.kernels.machine import any_lane, kernel, larger, like, negate, team_sum, where
from qpcore.kernels.rows import TILE, column, four
from qpcore.status import Status

SOLVED = int(Status.SOLVED)

# The mass per 1 + size, by dtype, up to which the part of the tolerance that the kernels leave free
# covers their rounding: in float64 a twentieth of 1e-8, in units of rounding. In float32 that would
# be 16, and doubt every answer, though errors add up to far less: a heuristic, since among 15,000
# hostile problems 1e4 let three broken promises pass. Tighter tolerances keep these numbers: a
# bound for a worst case that rounding hardly ever meets would leave little SOLVED at 1e-12.
CLEAR = {"d": 4e6, "f": 3e2}

# The status of an answer that is SOLVED if whoever measures more carefully agrees.
IN_DOUBT = 100

# What variables, or rows, contribute: squares of the answer and of the numbers beside it, sums of
# their products and of the magnitudes of these.
Share = namedtuple("Share", "answer given product mass")


@kernel
def doubt(work, clear, sizes, team):
    """Mark SOLVED as in doubt where the mass of a residual may exceed `clear` times 1 + its size.

    The answer, in `work.at`, is in the units of the data, as are all masses.
    """
    status = work.outcome.status[0]
    solved = status == like(SOLVED, status)
    if not any_lane(solved):
        return
    doubtful = solved & exceeds(work, like(clear, status), sizes, team)
    if team.lane == 0:
        work.outcome.status[0] = where(doubtful, like(IN_DOUBT, status), status)


@kernel
def exceeds(work, clear, sizes, team):
    """Whether one of the three masses, from above, is too large beside its residual's terms."""
    qp, scale, at = work.qp, work.scale, work.at
    n, m, p, rows = sizes.n, sizes.m, sizes.p, sizes.rows
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    per_cost = one / scale.cost[0]
    trace, bend, costs = share_of_variables(qp, scale, at, per_cost, sizes, team)
    equations = share_of_rows(qp.b, qp.b, scale.per_y, at.y, 0, p, zero, team)
    upper, lower, per_rows = qp.limit[0], qp.limit[1], scale.per_rows
    given = share_of_rows(upper, lower, per_rows, at.v, 0, m, zero, team)
    bounds = share_of_rows(upper, lower, per_rows, at.v, m, rows, zero, team)
    G = square(qp.Gt, scale.per_x, scale.per_rows, m, team)
    A = square(qp.At, scale.per_x, scale.per_y, p, team)
    primal = math.sqrt((G + A) * costs.answer)
    dual = math.sqrt(trace) * bend + math.sqrt(costs.given) + math.sqrt(bounds.answer)
    dual += math.sqrt(G * given.answer) + math.sqrt(A * equations.answer)
    gap = bend * bend + costs.mass + equations.mass + given.mass + bounds.mass
    limits = larger(mean(equations, p), larger(mean(given, m), mean(bounds, rows - m)))
    products = larger(abs(costs.product), abs(equations.product))
    products = larger(products, larger(abs(given.product), abs(bounds.product)))
    fine = (primal <= clear * (one + limits)) & (dual <= clear * (one + mean(costs, n)))
    return negate(fine & (gap <= clear * (one + products)))  # NaN is not fine


@kernel(inline=True)
def mean(share, count):
    """Root of the mean square of the given numbers, which the largest is not below."""
    return math.sqrt(share.given / like(max(1, count), share.given))


@kernel
def share_of_variables(qp, scale, at, per_cost, sizes, team):
    """The trace of Q, the roots of its diagonal times |x|, and the share of q and x."""
    zero = like(0, qp.q[0])
    trace, bend, answer, given, product, mass = zero, zero, zero, zero, zero, zero
    for j in range(team.lane, sizes.n, team.width):
        x, q = at.x[j], qp.q[j] * scale.per_x[j] * per_cost
        curvature = per_cost * larger(zero, qp.Q_diagonal[j]) * scale.per_x[j] * scale.per_x[j]
        trace += curvature
        bend += math.sqrt(curvature) * abs(x)
        answer += x * x
        given += q * q
        product += q * x
        mass += abs(q * x)
    trace, bend = team_sum(trace, team), team_sum(bend, team)
    answer, given = team_sum(answer, team), team_sum(given, team)
    return trace, bend, Share(answer, given, team_sum(product, team), team_sum(mass, team))


@kernel
def share_of_rows(upper, lower, per_rows, v, start, stop, zero, team):
    """The share of multipliers and of the limits that their signs choose; zero beside zeros."""
    answer, given, product, mass = zero, zero, zero, zero
    for i in range(start + team.lane, stop, team.width):
        limit = where(v[i] > 0, upper[i], where(v[i] < 0, lower[i], zero)) * per_rows[i]
        answer += v[i] * v[i]
        given += limit * limit
        product += limit * v[i]
        mass += abs(limit * v[i])
    answer, given = team_sum(answer, team), team_sum(given, team)
    return Share(answer, given, team_sum(product, team), team_sum(mass, team))


@kernel
def square(M, per_row, per_column, columns, team):
    """Sum of the squares of a scaled matrix's entries in the units of the data."""
    rows, zero = M.shape[0], like(0, per_row[0])
    total = zero
    for start in range(TILE * team.lane, rows, TILE * team.width):
        i = four(start, rows)
        s0, s1, s2, s3 = zero, zero, zero, zero
        for k in range(columns):
            m, factor = column(M, i, k), per_column[k] * per_column[k]
            s0, s1 = s0 + factor * m[0] * m[0], s1 + factor * m[1] * m[1]
            s2, s3 = s2 + factor * m[2] * m[2], s3 + factor * m[3] * m[3]
        f0, f1, f2, f3 = per_row[i[0]], per_row[i[1]], per_row[i[2]], per_row[i[3]]
        total += f0 * f0 * s0
        total += f1 * f1 * s1 if start + 1 < rows else zero
        total += f2 * f2 * s2 if start + 2 < rows else zero
        total += f3 * f3 * s3 if start + 3 < rows else zero
    return team_sum(total, team)
