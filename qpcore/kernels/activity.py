"""Which rows bind at the answer, and how clearly: what its derivative depends on (13).

A row enters the derivative by its T = slack / |v|: zero where it binds, infinite where it is free.
At a degenerate point it is neither, and the derivative does not exist.
"""

from collections import namedtuple

from qpcore.kernels.kkt import factor_kkt, multiply_C, multiply_kkt, solve_kkt
from qpcore.kernels.machine import (
    any_lane,
    barrier,
    kernel,
    larger,
    like,
    negate,
    team_max,
    where,
)

# So often the rows that bind are guessed, before they keep their ratio of slack to multiplier.
GUESSES = 2

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
def sharpen(work, sizes, team):
    """Take one more Newton step from the answer, and see which rows bind there (13).

    At the tolerance's edge a row has slack and a multiplier; the step makes one of them vanish.
    Each row is taken to bind or not at first, and a guess that the step contradicts is turned: it
    is right as a rule, and then exact. Where two guesses fail, as near degenerate points, or where
    the step is not small, as at solutions that are not unique, rows keep the ratio that they have.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    guess_activity(qp, at, system, sizes, team)
    found = Activity(one, zero, zero, one < zero, one > zero)
    pending = one > zero
    for attempt in range(GUESSES + 1):
        last = attempt == GUESSES
        if last:
            keep_ratios(qp, at, pending, system, sizes, team)
        weigh_answer(system, sizes, team)
        factor_kkt(qp, system, sizes, team)
        largest, growth = step_from_answer(work, sizes, team)
        off = relative_step(fix, at, sizes, team)
        small = off <= like(SMALL, off)
        guessed = (small & judge(work, pending, sizes, team)) if not last else one > zero
        taken = pending & guessed
        margin, clear, settled = move_answer(work, taken, small, largest, sizes, team)
        found = Activity(
            where(taken, margin, found.margin),
            where(taken, off, found.off),
            where(taken, growth, found.growth),
            where(taken, clear & small, found.clear),
            where(taken, settled, found.settled),
        )
        pending = pending & negate(guessed)
        if not any_lane(pending):
            break
    return found


@kernel
def step_from_answer(work, sizes, team):
    """The Newton step, in `fix`; returned are the largest terms at the answer, and the growth."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n, zero = sizes.n, like(0, qp.q[0])
    multiply_kkt(system.right, work, at, sizes, team)
    largest = largest_terms(work, sizes, team)
    error, unbound = zero, like(UNBOUND, zero)
    for j in range(team.lane, n, team.width):
        system.right[j] = -qp.q[j] - system.right[j]
        error = larger(error, abs(system.right[j]))
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = qp.b[i] - system.right[n + i]
        error = larger(error, abs(system.right[n + i]))
    for i in range(team.lane, sizes.rows, team.width):
        slack = slack_of(qp, i, at.v[i], at.Cx[i])
        gap = where(at.v[i] > 0, slack, -slack)
        gap = where(qp.fixed[i] > 0, qp.limit[0, i] - at.Cx[i], gap)
        free = system.damp[i] == unbound
        system.push[i] = where(free, -at.v[i], -system.weight[i] * gap)
        error = larger(error, where(free, zero, abs(gap)))
    barrier(team)
    solve_kkt(qp, system, fix, sizes, team)
    error = team_max(error, team)
    growth = where(error > 0, size_of(fix, sizes, team) / error, zero)
    return largest, growth


@kernel
def judge(work, pending, sizes, team):
    """Whether every row does behind the step what it was taken to do; if not, turn the guesses.

    A row that binds must keep the sign of its multiplier, one that is free must stay within its
    limits.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    zero, one, unbound = like(0, qp.q[0]), like(1, qp.q[0]), like(UNBOUND, qp.q[0])
    wrong = zero
    for i in range(team.lane, sizes.rows, team.width):
        v, T = at.v[i], system.damp[i]
        v_next, Cx_next = next_multiplier(qp, i, v, fix.v[i]), at.Cx[i] + fix.Cx[i]
        bends = (zero == T) & (compliance(qp, i, v_next, Cx_next) > like(BINDS, T))
        crosses = (unbound == T) & (abs(v) > 0) & (slack_of(qp, i, v, Cx_next) < 0)
        wrong = where(bends | crosses, one, wrong)
        T = where(bends, unbound, where(crosses, zero, T))
        system.damp[i] = where(pending, T, system.damp[i])
    right = team_max(wrong, team) == 0
    barrier(team)
    return right


@kernel(inline=True)
def next_multiplier(qp, i, v, dv):
    """The multiplier behind a step; zero where it would change its sign."""
    zero = like(0, v)
    ahead = where(v > 0, larger(zero, v + dv), -larger(zero, -v - dv))
    return where(qp.fixed[i] > 0, v + dv, ahead)


@kernel
def move_answer(work, taken, small, largest, sizes, team):
    """Take the step in the lanes that are `taken`, if it is small, and note T behind it.

    Returned are the margin, whether every row binds or is free, and whether none that seemed to
    bind is free after all.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    zero, one, unbound = like(0, qp.q[0]), like(1, qp.q[0]), like(UNBOUND, qp.q[0])
    margin, doubt, flips = one, zero, zero
    moves = taken & small
    for i in range(team.lane, sizes.rows, team.width):
        v, T = at.v[i], system.damp[i]
        v_next = next_multiplier(qp, i, v, fix.v[i])
        ahead = told_apart(compliance(qp, i, v_next, at.Cx[i] + fix.Cx[i]))
        ahead = where(moves & (abs(v) > 0), ahead, T)
        flips = where((ahead == unbound) & (zero == T), one, flips)
        doubt = where((ahead == zero) | (ahead == unbound), doubt, one)
        system.damp[i] = ahead
        # The factor keeps the old weights. Refinement converges if rows that bind keep theirs too,
        # and rows that are free give theirs up.
        weight = system.weight[i]
        system.weight[i] = where(ahead * weight > one, one / ahead, weight)
        at.v[i] = where(moves, v_next, v)
        at.Cx[i] = where(moves, at.Cx[i] + fix.Cx[i], at.Cx[i])
        here = clarity(qp, i, at.v[i], at.Cx[i], largest)
        margin = where(here < margin, here, margin)
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = where(moves, at.x[j] + fix.x[j], at.x[j])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(moves, at.y[i] + fix.y[i], at.y[i])
    barrier(team)
    return -team_max(-margin, team), team_max(doubt, team) == 0, team_max(flips, team) == 0


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
