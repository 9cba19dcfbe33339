"""Which rows bind at the answer, and how clearly: what its derivative depends on (13).

A row enters the derivative by its T = slack / |v|: zero where it binds, infinite where it is free.
At a degenerate point it is neither, and the derivative does not exist.
"""

from collections import namedtuple

from qpcore.kernels.kkt import multiply_C
from qpcore.kernels.machine import barrier, kernel, larger, like, negate, team_max, where

# Slack per multiplier of a row without multiplier: it does not bind at all.
UNBOUND = 1e30

# A row whose slack per multiplier is below or above these binds fully or not at all. Between them,
# at a degenerate point, it keeps its ratio.
BINDS, FREE = 1e-4, 1e4

# A Newton step at the answer is trusted up to this size, relative to the answer.
SMALL = 0.05

# Largest terms of the primal and of the dual rows.
Sizes = namedtuple("Sizes", "primal dual")


@kernel
def guess_activity(qp, at, system, sizes, team):
    """T = 0 in rows that look as if they bind, and T = infinity in the others (13).

    A row of an interior point has the larger of slack and multiplier where it has one at all.
    """
    multiply_C(at.Cx, qp, at.x, team)
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        T = compliance(qp, i, at.v[i], at.Cx[i])
        system.damp[i] = where(one > T, zero, like(UNBOUND, zero))
    barrier(team)


@kernel
def keep_ratios(qp, at, wanted, system, sizes, team):
    """T = slack / |v|, told apart only where that is far from one, in the lanes where wanted."""
    for i in range(team.lane, sizes.rows, team.width):
        T = told_apart(compliance(qp, i, at.v[i], at.Cx[i]))
        system.damp[i] = where(wanted, T, system.damp[i])
    barrier(team)


@kernel
def weigh_answer(system, sizes, team):
    """weight = 1 / (T + δ) (13)."""
    one, delta = like(1, system.rho[0]), system.delta[0]
    for i in range(team.lane, sizes.rows, team.width):
        system.weight[i] = one / (system.damp[i] + delta)
    barrier(team)


@kernel
def weigh_relaxed(qp, at, mu, system, sizes, team):
    """T = 1 / Σ z/s over the sides of a row, where s z = μ and s is the slack at x (16)."""
    multiply_C(at.Cx, qp, at.x, team)
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        W = zero
        for side in range(2):
            slack = qp.limit[side, i] - at.Cx[i]
            W += where(qp.present[side, i] > 0, mu / (slack * slack), zero)
        T = where(W > 0, one / W, like(UNBOUND, zero))
        T = where(qp.fixed[i] > 0, zero, T)
        system.damp[i] = T
        system.weight[i] = one / (T + system.delta[0])
    barrier(team)


@kernel(inline=True)
def slack_of(qp, i, v, Cx):
    """How far a row is from the limit that its multiplier belongs to."""
    return where(v > 0, qp.limit[0, i] - Cx, Cx - qp.limit[1, i])


@kernel(inline=True)
def compliance(qp, i, v, Cx):
    """T = slack / |v|; zero for an equality."""
    zero, unbound = like(0, v), like(UNBOUND, v)
    T = where(abs(v) > 0, larger(zero, slack_of(qp, i, v, Cx)) / abs(v), unbound)
    T = where(unbound > T, T, unbound)
    return where(qp.fixed[i] > 0, zero, T)


@kernel(inline=True)
def told_apart(T):
    """Zero for a T that is small, the largest number for one that is large."""
    unbound = like(UNBOUND, T)
    T = where(like(FREE, T) < T, unbound, T)
    return where(like(BINDS, T) > T, T - T, T)


@kernel
def largest_terms(work, sizes, team):
    """Largest terms of the conditions at the answer, whose products are at hand; at least one.

    One is the size of the matrices' entries. Below it there would be nothing to tell a zero by: at
    the tip of a cone every term is as small as the tolerance leaves it.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    primal, dual = like(1, qp.q[0]), like(1, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        primal = larger(primal, abs(at.x[j]))
        dual = larger(dual, larger(abs(qp.q[j]), abs(products.Qx[j])))
    for i in range(team.lane, sizes.rows, team.width):
        primal = larger(primal, abs(at.Cx[i]))
        dual = larger(dual, abs(at.v[i]))
    for i in range(team.lane, sizes.p, team.width):
        dual = larger(dual, abs(at.y[i]))
    return Sizes(team_max(primal, team), team_max(dual, team))


@kernel(inline=True)
def clarity(qp, i, v, Cx, largest):
    """How clearly a row binds or not, from 0 to 1; 1 for rows that have no choice."""
    zero, one = like(0, v), like(1, v)
    upper, lower = qp.present[0, i] > 0, qp.present[1, i] > 0
    above, below = qp.limit[0, i] - Cx, Cx - qp.limit[1, i]
    nearer = where(upper & (negate(lower) | (above < below)), above, below)
    reach = larger(largest.primal, abs(where(upper, qp.limit[0, i], zero)))
    reach = larger(reach, abs(where(lower, qp.limit[1, i], zero)))
    share = larger(larger(zero, nearer) / reach, abs(v) / largest.dual)
    return where(upper | lower, share, one)


@kernel
def size_of(point, sizes, team):
    """The largest entry of x, y, v."""
    size = like(0, point.x[0])
    for j in range(team.lane, sizes.n, team.width):
        size = larger(size, abs(point.x[j]))
    for i in range(team.lane, sizes.p, team.width):
        size = larger(size, abs(point.y[i]))
    for i in range(team.lane, sizes.rows, team.width):
        size = larger(size, abs(point.v[i]))
    return team_max(size, team)
