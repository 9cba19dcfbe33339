"""Primal-dual active set method: from a point near the answer to all of its digits (18).

Which rows bind is read off the point; with these as equations the QP is one linear system. If its
solution shows a row to have been taken wrongly, the set is corrected and the system solved again:
a semismooth Newton method (Hintermüller, Ito, Kunisch 2002, SIAM J. Optim. 13, 865-888), which
from near by ends after one or two factors, and from far away may never.
"""

from qpcore.kernels.certificate import COLD, GUESSED, MINIMUM, RUNNING
from qpcore.kernels.ipm import decide, examine, residuals
from qpcore.kernels.kkt import add_where, factor_kkt, multiply_C, regularise, solve_kkt
from qpcore.kernels.machine import (
    any_lane,
    barrier,
    kernel,
    larger,
    like,
    team_max,
    team_sum,
    where,
)
from qpcore.kernels.progress import set_out
from qpcore.kernels.scaling import from_original
from qpcore.kernels.start import least_squares
from qpcore.kernels.stopping import OVERFLOW, excess
from qpcore.kernels.trace import note_again, note_iterate
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)

# The status of a problem whose search does not get anywhere, while others go on.
LOST = -10

# Answers whose residuals are more than this share of what the tolerance allows take one more step,
# for which a solve with the factor that is there is enough: rounding is left.
FINE = 1e-4

# Multipliers are taken to be as large as this share of the slope at least, slacks as this share
# of the limits.
SHARE = 0.01


@kernel
def solve_active_set(work, parameters, sizes, team):
    """Take the point in `work.at`, in the units of the data, to the answer; status in the outcome.

    Where COLD is sought it begins without a point. A problem that is not solved after so many
    `steps`, or does not get on, keeps its last point and the status that it came with.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    status = examine(work, parameters, sizes, team)
    one = like(1, status)
    ratio = set_off(work, status, parameters, sizes, team)
    iterations = outcome.iterations[0]
    least, waited = like(OVERFLOW, one), one - one
    rough, last = status > one, one - one  # rough nowhere
    for iteration in range(parameters.steps + 1):
        running = status == RUNNING
        changed = bind(qp, at, ratio, system, running, iteration == 0, sizes, team)
        waited = where(changed < least, one - one, waited + one)
        least = where(changed < least, changed, least)
        lost = running & (changed > 0) & (waited >= like(parameters.leave, one))
        status = where(lost, like(LOST, status), status)
        project(qp, at, best, sizes, team)
        residuals(qp, at, residual, system.soft[0], sizes, team)
        note_iterate(work, iteration, status == RUNNING, sizes, team)
        if iteration > 0:  # the guess itself is not looked at: a step makes it exact
            above = excess(work, parameters.tol, parameters.reach, sizes, team)
            solved = (status == RUNNING) & (above.aim <= 1)
            status = where(solved, like(SOLVED, status), status)
            rough = rough | (solved & (changed == 0) & (above.aim > like(FINE, one)))
            last = where(solved, like(iteration, one), last)
        spent = iterations >= like(parameters.max_iterations, one)
        status = where((status == RUNNING) & spent, like(MAX_ITERATIONS, status), status)
        running = status == RUNNING
        if iteration == parameters.steps or not any_lane(running):
            break
        iterations = where(running, iterations + one, iterations)
        if any_lane(changed > 0):
            factor_kkt(qp, system, sizes, team)
        aim_at_set(qp, at, residual, system, sizes, team)
        solve_kkt(qp, system, fix, sizes, team)
        add_where(running, at, fix, sizes, team)
    if any_lane(rough):
        status = sharpen(work, status, rough, parameters, sizes, team)
        note_again(work, last, rough, sizes, team)
    leave_to_others(work, status, iterations, parameters.sought, sizes, team)


@kernel
def sharpen(work, status, rough, parameters, sizes, team):
    """Correct answers by the factor that is there, that of their rows that bind; the statuses."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    aim_at_set(qp, at, residual, system, sizes, team)
    solve_kkt(qp, system, fix, sizes, team)
    add_where(rough, at, fix, sizes, team)
    for i in range(team.lane, sizes.rows, team.width):
        fix.v[i] = best.v[i]  # which those that are left to others take up again
    barrier(team)
    project(qp, at, best, sizes, team)
    for i in range(team.lane, sizes.rows, team.width):
        best.v[i] = fix.v[i]
    barrier(team)
    residuals(qp, at, residual, system.soft[0], sizes, team)
    above = excess(work, parameters.tol, parameters.reach, sizes, team)
    return where(rough & (above.aim > 1), like(RUNNING, status), status)


@kernel
def set_off(work, status, parameters, sizes, team):
    """The first point: the given one, or that of least squares; multipliers per slack there."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    one = like(1, status)
    ratio = parameters.pull * one
    if team.lane == 0:
        system.soft[0] = one - one
    if parameters.sought == COLD:
        least_squares(work, status > one, parameters, sizes, team)  # careful nowhere
        take_step_as_point(at, step, sizes, team)
    else:
        from_original(at, scale, sizes, team)
        multiply_C(at.Cx, qp, at.x, team)
        ratio = dual_per_primal(qp, at, sizes, team)
    regularise(system, parameters.rho * one, parameters.delta * one, team)
    return ratio


@kernel
def leave_to_others(work, status, iterations, sought, sizes, team):
    """The outcome; problems that are not solved keep their multipliers, whatever their signs."""
    at, best = work.at, work.best
    left = (status == RUNNING) | (status == LOST)
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = where(left, best.v[i], at.v[i])
    barrier(team)
    after = RUNNING if sought == COLD else GUESSED
    status = where(left, like(after, status), status)
    decide(work, set_out(status, left), iterations, MINIMUM, sizes, team)


@kernel
def take_step_as_point(at, step, sizes, team):
    """The point that the step from zero leads to."""
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = step.x[j]
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = step.y[i]
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i], at.Cx[i] = step.v[i], step.Cx[i]
    barrier(team)


@kernel
def dual_per_primal(qp, at, sizes, team):
    """The largest multiplier over the largest slack: what makes the two comparable.

    Where nothing binds, or everything, the slope and the limits say how large they would be.
    """
    zero, one, share = like(0, qp.q[0]), like(1, qp.q[0]), like(SHARE, qp.q[0])
    force, reach = zero, zero
    for j in range(team.lane, sizes.n, team.width):
        force = larger(force, share * abs(qp.q[j]))
    for i in range(team.lane, sizes.rows, team.width):
        force = larger(force, abs(at.v[i]))
        for side in range(2):
            limit = qp.limit[side, i]
            span = larger(abs(limit - at.Cx[i]), share * abs(limit))
            reach = larger(reach, qp.present[side, i] * span)
    force, reach = team_max(force, team), team_max(reach, team)
    return where((force > 0) & (reach > 0), force / reach, one)


@kernel
def bind(qp, at, ratio, system, running, first, sizes, team):
    """Choose the rows that bind, +1 above and -1 below, in `damp`; the number of changes.

    A row binds where its multiplier exceeds its slack, which it does at the answer. The choice of
    problems that are finished stays as it is.
    """
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    changes = like(sizes.rows, zero) + one if first else zero
    for i in range(team.lane, sizes.rows, team.width):
        v, Cx, before = at.v[i], at.Cx[i], system.damp[i]
        above = (qp.present[0, i] > 0) & (v > ratio * (qp.limit[0, i] - Cx))
        below = (qp.present[1, i] > 0) & (-v > ratio * (Cx - qp.limit[1, i]))
        side = where(above, one, where(below, -one, zero))
        side = where(qp.fixed[i] > 0, one, side)
        before = side if first else before
        side = where(running, side, before)
        changes += where(side == before, zero, one)
        system.damp[i] = side
        system.weight[i] = abs(side) / system.delta[0]
    barrier(team)
    return team_sum(changes, team)


@kernel
def project(qp, at, best, sizes, team):
    """Slacks and multipliers of the right sign for `at`; the multipliers as they were in `best`."""
    zero = like(0, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        v, Cx = at.v[i], at.Cx[i]
        best.v[i] = v
        for side in range(2):
            present = qp.present[side, i]
            slack = qp.limit[0, i] - Cx if side == 0 else Cx - qp.limit[1, i]
            force = v if side == 0 else -v
            at.s[side, i] = present * larger(zero, slack)
            at.z[side, i] = present * larger(zero, force)
        at.v[i] = where(qp.fixed[i] > 0, v, at.z[0, i] - at.z[1, i])
    barrier(team)


@kernel
def aim_at_set(qp, at, residual, system, sizes, team):
    """Right-hand sides of the step to the rows that bind, all other multipliers being zero."""
    n = sizes.n
    for j in range(team.lane, n, team.width):
        system.right[j] = -residual.dual[j]
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = residual.equality[i]
    for i in range(team.lane, sizes.rows, team.width):
        side = system.damp[i]
        gap = where(side > 0, qp.limit[0, i], qp.limit[1, i]) - at.Cx[i]
        free = side == like(0, side)
        system.push[i] = where(free, -at.v[i], -system.weight[i] * gap)
    barrier(team)
