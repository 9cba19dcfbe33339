"""Primal-dual active set method on the dual, for strictly convex QPs with few rows (19).

With the factor of the KKT matrix of the equations, made once, all that the rows of G do to each
other is in R, as large as there are rows. Whichever of them bind, their multipliers solve a system
with the matrix R alone, and so does what the others are left with: to look for the rows that bind
(`search.py`) takes one small factor a step, and neither Q nor G.
"""

from qpcore.kernels.active_set import project
from qpcore.kernels.binding import solve_binding
from qpcore.kernels.bordered import factor_with_rows, multiply_rows
from qpcore.kernels.certificate import MINIMUM, RUNNING
from qpcore.kernels.dense import multiply_transposed, solve_factored
from qpcore.kernels.ipm import decide, examine, residuals
from qpcore.kernels.kkt import add_where, multiply_C, multiply_C_transposed
from qpcore.kernels.known import note_accuracy, note_clarity
from qpcore.kernels.machine import any_lane, barrier, kernel, larger, like, team_max, where
from qpcore.kernels.progress import set_out
from qpcore.kernels.search import begin, is_over, look, solve_rows, take_out_softness
from qpcore.kernels.stopping import excess
from qpcore.kernels.trace import note_iterate
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)

# What equations give way by, as a share of what rows of G do: nothing corrects it afterwards.
FIRMER = 0.01

# Corrections at most that make the answer exact.
ROUNDS = 2


@kernel
def solve_dual(work, parameters, sizes, fresh, team):
    """Take the problem in `work.qp` to its answer in `work.at`, in the units of the data.

    A problem that this is not the method for, or that it does not solve, keeps the status RUNNING.
    Unless matrices are `fresh`, they are those of the problem before, whose factor serves again.
    Returned is whether rows that bind were sought.
    """
    outcome, dual = work.outcome, work.system.dual
    status = examine(work, parameters, sizes, team)
    steps = outcome.iterations[0]
    if fresh:
        factor_matrices(work, parameters.delta, parameters.floor, sizes, team)
    firm = has_inverse(dual, parameters.floor, sizes, team) & (status == RUNNING)
    searched = any_lane(firm)
    if searched:
        centre(work, dual, sizes, team)
        search = search_rows(work, dual, firm, parameters, sizes, team)
        take_out_softness(work, dual, parameters.delta, sizes, team)
        place(work, dual, sizes, team)
        status = polish(work, dual, status, search.found, parameters, sizes, team)
        note_clarity(work, dual, sizes, team)
        steps = search.steps
    else:
        note_iterate(work, 0, firm, sizes, team)
    spent = (status == RUNNING) & (steps >= like(parameters.max_iterations, steps))
    status = where(spent, like(MAX_ITERATIONS, status), status)
    decide(work, set_out(status, spent), steps, MINIMUM, sizes, team)
    return searched


@kernel
def factor_matrices(work, delta, floor, sizes, team):
    """Factor Q and the equations, and make R of the rows of G where Q has an inverse."""
    qp, dual, zero = work.qp, work.system.dual, like(0, work.qp.q[0])
    n, size, least = sizes.n, sizes.n + sizes.p, like(floor, zero)
    for j in range(team.lane, n, team.width):
        dual.diagonal[j] = qp.Q_diagonal[j]
    for i in range(n + team.lane, size, team.width):
        dual.diagonal[i] = -like(FIRMER, zero) * delta
    barrier(team)
    factor_with_rows(qp.K, dual.diagonal, qp.Gt, work.system.weight, size, least, team)
    if any_lane(has_inverse(dual, floor, sizes, team)):
        multiply_rows(qp.K, dual.curvature, n, size, team)


@kernel
def has_inverse(dual, floor, sizes, team):
    """Whether Q has one: whether all its pivots are well above the floor, beside entries near 1."""
    flattest = like(0, dual.diagonal[0])
    for j in range(team.lane, sizes.n, team.width):
        flattest = larger(flattest, dual.diagonal[j])
    flattest = team_max(flattest, team)
    return flattest * flattest * like(floor, flattest) < like(0.5, flattest)


@kernel
def centre(work, dual, sizes, team):
    """See where rows of G are without G."""
    zero = like(0, work.qp.q[0])
    if team.lane == 0:
        work.system.soft[0] = zero
    for k in range(team.lane, sizes.m, team.width):
        dual.force[k] = zero
    barrier(team)
    place(work, dual, sizes, team)
    multiply_transposed(dual.centre, work.qp.Gt, work.at.x, team)


@kernel
def search_rows(work, dual, firm, parameters, sizes, team):
    """Find the rows that bind, in `dual.side`, and their multipliers, in `dual.force`.

    Returned is how far the search came.
    """
    search = begin(work, dual, firm, parameters, sizes, team)
    note_search(work, dual, 0, firm, sizes, team)
    for iteration in range(parameters.steps):
        solve_rows(work, dual, parameters.delta, sizes, team)
        note_search(work, dual, iteration + 1, search.searching, sizes, team)
        search = look(work, dual, search, parameters, sizes, team)
        if is_over(search):
            break
    return search


@kernel
def note_search(work, dual, iteration, searching, sizes, team):
    """Note the point that belongs to the multipliers, if the caller asked for a trace."""
    if work.outcome.trace.shape[0] > 0:
        place(work, dual, sizes, team)
        look_at(work, sizes, team)
        note_iterate(work, iteration, searching, sizes, team)


# ---- the answer ----------------------------------------------------------------------------------


@kernel
def place(work, dual, sizes, team):
    """The x and y that belong to the multipliers: Qx + q + Gᵀv + Aᵀy = 0, Ax = b."""
    qp, at, right = work.qp, work.at, work.system.right
    n = sizes.n
    for k in range(team.lane, sizes.m, team.width):
        at.v[k] = dual.force[k]
    barrier(team)
    multiply_C_transposed(at.x, qp, at.v, team)
    for j in range(team.lane, n, team.width):
        right[j] = -(qp.q[j] + at.x[j])
    for i in range(team.lane, sizes.p, team.width):
        right[n + i] = qp.b[i]
    barrier(team)
    solve_factored(qp.K, dual.diagonal, n, True, right, team)
    for j in range(team.lane, n, team.width):
        at.x[j] = right[j]
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = right[n + i]
    barrier(team)


@kernel
def look_at(work, sizes, team):
    """Slacks and residuals of the point, and its multipliers without those of the wrong sign."""
    multiply_C(work.at.Cx, work.qp, work.at.x, team)
    project(work.qp, work.at, work.best, sizes, team)
    residuals(work.qp, work.at, work.residual, work.system.soft[0], sizes, team)


@kernel
def polish(work, dual, status, found, parameters, sizes, team):
    """Correct the point where it is not exact enough; SOLVED where it is (5)."""
    for round in range(ROUNDS + 1):
        look_at(work, sizes, team)
        note_accuracy(work, dual, round == 0, sizes, team)
        above = excess(work, parameters.tol, parameters.reach, sizes, team)
        good = (status == RUNNING) & found & (above.aim <= 1)
        status = where(good, like(SOLVED, status), status)
        left = (status == RUNNING) & found
        if round == ROUNDS or not any_lane(left):
            break
        correct(work, dual, sizes, team)
        add_where(left, work.at, work.fix, sizes, team)
    return status


@kernel
def correct(work, dual, sizes, team):
    """Newton's step on the conditions (3), with the rows that bind as equations."""
    qp, at, residual, fix, right = work.qp, work.at, work.residual, work.fix, work.system.right
    n, zero = sizes.n, like(0, work.qp.q[0])
    for j in range(team.lane, n, team.width):
        right[j] = -residual.dual[j]
    for i in range(team.lane, sizes.p, team.width):
        right[n + i] = residual.equality[i]
    barrier(team)
    solve_factored(qp.K, dual.diagonal, n, True, right, team)
    multiply_transposed(fix.v, qp.Gt, right[:n], team)
    for j in range(team.lane, n, team.width):
        fix.x[j] = right[j]
    for i in range(team.lane, sizes.p, team.width):
        fix.y[i] = right[n + i]
        right[n + i] = zero
    for k in range(team.lane, sizes.m, team.width):
        side = dual.side[k]
        gap = where(side > 0, qp.limit[0, k], qp.limit[1, k]) - at.Cx[k]
        fix.v[k] = where(side == zero, zero, fix.v[k] - gap)
    barrier(team)
    solve_binding(qp, dual, fix.v, sizes, team)
    multiply_C_transposed(right[:n], qp, fix.v, team)
    solve_factored(qp.K, dual.diagonal, n, True, right, team)
    for j in range(team.lane, n, team.width):
        fix.x[j] -= right[j]
    for i in range(team.lane, sizes.p, team.width):
        fix.y[i] -= right[n + i]
    barrier(team)
    multiply_C(fix.Cx, qp, fix.x, team)
