"""Which rows bind at the answer, and how clearly: what its derivative depends on (13).

A row enters the derivative by its T = slack / |v|: zero where it binds, infinite where it is free.
At a degenerate point it is neither, and the derivative does not exist.
"""

from collections import namedtuple

from qpcore.kernels.kkt import multiply_C, multiply_kkt, solve_kkt
from qpcore.kernels.machine import (
    barrier,
    kernel,
    larger,
    like,
    negate,
    team_max,
    where,
)

# Slack per multiplier of a row without multiplier: it does not bind at all.
UNBOUND = 1e30

# A row whose slack per multiplier is below or above these binds fully or not at all. Between them,
# at a degenerate point, it keeps its ratio.
BINDS, FREE = 1e-4, 1e4

# A Newton step at the answer is trusted up to this size, relative to the answer.
SMALL = 0.05

# margin: the smallest, over the rows, of the larger of slack and multiplier, each relative to the
# largest term beside it. off: size of the Newton step from the answer, relative to the answer.
# growth: that step beside the residual that it takes away. clear: whether every row binds or is
# free. settled: whether no row that seemed to bind is free after all.
Activity = namedtuple("Activity", "margin off growth clear settled")

# Largest terms of the primal and of the dual rows.
Sizes = namedtuple("Sizes", "primal dual")


@kernel
def weigh_answer(qp, at, system, sizes, team):
    """T = slack / |v| of each row, told apart, in `damp`, and weight = 1 / (T + δ) (13)."""
    multiply_C(at.Cx, qp, at.x, team)
    one, delta = like(1, qp.q[0]), system.delta[0]
    for i in range(team.lane, sizes.rows, team.width):
        T = told_apart(compliance(qp, i, at.v[i], at.Cx[i]))
        system.damp[i] = T
        system.weight[i] = one / (T + delta)
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
def sharpen(work, sizes, team):
    """Take one more Newton step from the answer, and see which rows bind there (13).

    At the tolerance's edge a row may have slack and multiplier of similar size; the step makes one
    of them vanish. Where it is not small, as at solutions that are not unique, the answer and T
    stay as they are.
    """
    qp, scale, at, best, _, step, fix, system, products, outcome = work
    n, zero, one = sizes.n, like(0, qp.q[0]), like(1, qp.q[0])
    multiply_kkt(system.right, work, at, sizes, team)
    largest = largest_terms(work, sizes, team)
    residual, unbound = zero, like(UNBOUND, zero)
    for j in range(team.lane, n, team.width):
        system.right[j] = -qp.q[j] - system.right[j]
        residual = larger(residual, abs(system.right[j]))
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = qp.b[i] - system.right[n + i]
        residual = larger(residual, abs(system.right[n + i]))
    for i in range(team.lane, sizes.rows, team.width):
        slack = slack_of(qp, i, at.v[i], at.Cx[i])
        gap = where(at.v[i] > 0, slack, -slack)
        gap = where(qp.fixed[i] > 0, qp.limit[0, i] - at.Cx[i], gap)
        free = system.damp[i] == unbound
        system.push[i] = where(free, -at.v[i], -system.weight[i] * gap)
        residual = larger(residual, where(free, zero, abs(gap)))
    barrier(team)
    solve_kkt(qp, system, fix, sizes, team)
    residual = team_max(residual, team)
    growth = where(residual > 0, size_of(fix, sizes, team) / residual, zero)
    off = relative_step(fix, at, sizes, team)
    small = off <= like(SMALL, off)
    margin, doubt, flips = one, zero, zero
    for i in range(team.lane, sizes.rows, team.width):
        v, T = at.v[i], system.damp[i]
        v_next = where(v > 0, larger(zero, v + fix.v[i]), -larger(zero, -v - fix.v[i]))
        v_next = where(qp.fixed[i] > 0, v + fix.v[i], v_next)
        ahead = told_apart(compliance(qp, i, v_next, at.Cx[i] + fix.Cx[i]))
        ahead = where(small & (abs(v) > 0), ahead, T)
        flips = where((ahead == unbound) & (zero == T), one, flips)
        doubt = where((ahead == zero) | (ahead == unbound), doubt, one)
        system.damp[i] = ahead
        # The factor keeps the old weights. Refinement converges if rows that bind keep theirs too,
        # and rows that are free give theirs up.
        weight = system.weight[i]
        system.weight[i] = where(ahead * weight > one, one / ahead, weight)
        at.v[i] = where(small, v_next, v)
        at.Cx[i] = where(small, at.Cx[i] + fix.Cx[i], at.Cx[i])
        here = clarity(qp, i, at.v[i], at.Cx[i], largest)
        margin = where(here < margin, here, margin)
    for j in range(team.lane, n, team.width):
        at.x[j] = where(small, at.x[j] + fix.x[j], at.x[j])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(small, at.y[i] + fix.y[i], at.y[i])
    barrier(team)
    clear, settled = team_max(doubt, team) == 0, team_max(flips, team) == 0
    return Activity(-team_max(-margin, team), off, growth, clear & small, settled)


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
def relative_step(fix, at, sizes, team):
    """Size of a step beside the point that it starts from: the larger of primal and dual."""
    zero, one = like(0, at.x[0]), like(1, at.x[0])
    x, dx, v, dv = zero, zero, zero, zero
    for j in range(team.lane, sizes.n, team.width):
        x, dx = larger(x, abs(at.x[j])), larger(dx, abs(fix.x[j]))
    for i in range(team.lane, sizes.rows, team.width):
        v, dv = larger(v, abs(at.v[i])), larger(dv, abs(fix.v[i]))
    x, dx, v, dv = team_max(x, team), team_max(dx, team), team_max(v, team), team_max(dv, team)
    return larger(dx / (one + x), dv / (one + v))


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
