"""One more Newton step from the answer, which tells the rows that bind from the others (13)."""

from collections import namedtuple

from qpcore.kernels.activity import (
    BINDS,
    SMALL,
    UNBOUND,
    clarity,
    compliance,
    guess_activity,
    keep_ratios,
    largest_terms,
    size_of,
    slack_of,
    told_apart,
    weigh_answer,
)
from qpcore.kernels.kkt import multiply_kkt
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
from qpcore.kernels.system import factor_system, solve_system

# So often the rows that bind are guessed, before they keep their ratio of slack to multiplier.
GUESSES = 2

# margin: the smallest, over the rows, of the larger of slack and multiplier, each relative to the
# largest term beside it. off: size of the Newton step from the answer, relative to the answer.
# growth: that step beside the residual that it takes away. clear: whether every row binds or is
# free. settled: whether no row that seemed to bind is free after all.
Activity = namedtuple("Activity", "margin off growth clear settled")


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
        factor_system(qp, system, sizes, team)
        largest, growth = step_from_answer(work, sizes, team)
        off = relative_step(fix, at, sizes, team)
        small = off <= like(SMALL, off)
        guessed = (small & is_as_guessed(work, pending, sizes, team)) if not last else one > zero
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
    solve_system(qp, system, fix, sizes, team)
    error = team_max(error, team)
    growth = where(error > 0, size_of(fix, sizes, team) / error, zero)
    return largest, growth


@kernel
def is_as_guessed(work, pending, sizes, team):
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
