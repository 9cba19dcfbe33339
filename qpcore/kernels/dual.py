"""Primal-dual active set method on the dual, for strictly convex QPs with few rows (19).

With Q = L Lᵀ and N = [A; G] L⁻ᵀ, made once, all that the rows do to each other is in S = N Nᵀ.
Whichever of them bind, their multipliers solve a system with the matrix S alone, and so does what
the others are left with: to look for the rows that bind takes one small factor a step, and neither
Q nor G. It ends after a few steps, or wanders and is given up.
"""

from collections import namedtuple

from qpcore.kernels.active_set import project
from qpcore.kernels.certificate import MINIMUM, RUNNING
from qpcore.kernels.dense import (
    factor,
    multiply,
    multiply_symmetric,
    multiply_transposed,
    solve_factored,
)
from qpcore.kernels.factor import factor_head, multiply_rows
from qpcore.kernels.ipm import decide, examine, residuals
from qpcore.kernels.kkt import add_where, multiply_C
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
from qpcore.kernels.stopping import excess
from qpcore.kernels.trace import note_iterate
from qpcore.status import Status

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)

# What rows that are free have on the diagonal; all rows at the start, as a share of S's diagonal.
FREE, FIRST = 1e30, 0.01

# A multiplier or slack of the wrong sign counts beyond this share of the largest.
NOTHING = 1e-12

# Corrections at most that make the answer exact.
ROUNDS = 2

# least: the fewest rows taken wrongly so far; waited: steps since; found: none is.
Search = namedtuple("Search", "searching found steps least waited")


@kernel
def solve_dual(work, dual, parameters, sizes, team):
    """Take the problem in `work.qp` to its answer in `work.at`, in the units of the data.

    A problem that this is not the method for, or that it does not solve, keeps the status RUNNING.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    status = examine(work, parameters, sizes, team)
    steps = outcome.iterations[0]
    firm = prepare(work, dual, parameters.floor, sizes, team) & (status == RUNNING)
    if any_lane(firm):
        multiply_rows(qp.K, dual.curvature, sizes.n, team)
        search = search_rows(work, dual, firm, parameters, sizes, team)
        steps = search.steps
        take_out_softness(qp, dual, parameters.delta, sizes, team)
        place(work, dual, sizes, team)
        status = polish(work, dual, status, search.found, parameters, sizes, team)
    else:
        note_iterate(work, 0, firm, sizes, team)
    spent = (status == RUNNING) & (steps >= like(parameters.max_iterations, steps))
    status = where(spent, like(MAX_ITERATIONS, status), status)
    decide(work, set_out(status, spent), steps, MINIMUM, sizes, team)


@kernel
def prepare(work, dual, least, sizes, team):
    """Make L and N, and the rows at the minimiser without them; whether Q has an inverse.

    It is said to if all its pivots are well above `least`, beside entries near one.
    """
    qp, system, zero = work.qp, work.system, like(0, work.qp.q[0])
    n, size = sizes.n, sizes.n + sizes.p + sizes.m
    for j in range(team.lane, n, team.width):
        dual.diagonal[j] = qp.Q_diagonal[j]
        system.right[j] = -qp.q[j]
    if team.lane == 0:
        system.soft[0] = zero
    barrier(team)
    least = like(least, zero)
    factor_head(qp.K, dual.diagonal, qp.Gt, system.weight, size, True, least, team)
    flattest = zero
    for j in range(team.lane, n, team.width):
        flattest = larger(flattest, dual.diagonal[j])
    solve_Q(qp, dual, system.right[:n], team)
    multiply_transposed(dual.centre, qp.K[:n, n:], system.right[:n], team)
    flattest = team_max(flattest, team)
    return flattest * flattest * least < like(0.5, zero)


@kernel
def solve_Q(qp, dual, v, team):
    """v = Q⁻¹ v."""
    n = qp.q.shape[0]
    solve_factored(qp.K, dual.diagonal, n, True, v, team)


# ---- the search ----------------------------------------------------------------------------------


@kernel
def search_rows(work, dual, firm, parameters, sizes, team):
    """Find the rows that bind, in `dual.side`, and their multipliers, in `dual.force`."""
    qp, zero = work.qp, like(0, work.qp.q[0])
    never, most = like(1, zero) < zero, like(FREE, zero)
    take_all(qp, dual, sizes, team)
    solve_rows(qp, dual, parameters.delta, True, sizes, team)
    note_search(work, dual, 0, firm, sizes, team)
    keep_pressed(qp, dual, sizes, team)
    search = Search(firm, never, work.outcome.iterations[0], most, zero)
    for iteration in range(parameters.steps):
        solve_rows(qp, dual, parameters.delta, False, sizes, team)
        note_search(work, dual, iteration + 1, search.searching, sizes, team)
        search = look(qp, dual, search, parameters, sizes, team)
        if not any_lane(search.searching):
            break
    return search


@kernel
def take_all(qp, dual, sizes, team):
    """Every row at the side that it is nearest to."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    for i in range(team.lane, sizes.p, team.width):
        dual.side[i] = one
    for k in range(team.lane, sizes.m, team.width):
        above, below = qp.present[0, k] > 0, qp.present[1, k] > 0
        centre = dual.centre[sizes.p + k]
        lower = centre + centre < qp.limit[0, k] + qp.limit[1, k]
        lower = below & (lower | (qp.present[0, k] == zero))
        side = where(lower, -one, where(above, one, zero))
        dual.side[sizes.p + k] = where(qp.fixed[k] > 0, one, side)
    barrier(team)


@kernel
def solve_rows(qp, dual, delta, first, sizes, team):
    """Multipliers of the rows that bind, and S times them; at first, of rows that give way."""
    n, p, zero = sizes.n, sizes.p, like(0, qp.q[0])
    size = p + sizes.m
    least, free = like(delta, zero), like(FREE, zero)
    diagonal, S = dual.diagonal[n:], qp.K[n:, n:]
    for i in range(team.lane, size, team.width):
        side = dual.side[i]
        target = limit_of(qp, side, i, p)
        softness = least
        if first and i >= p:
            soft = larger(least, like(FIRST, zero) * dual.curvature[i])
            softness = where(qp.fixed[i - p] > 0, least, soft)
        binds = abs(side) > 0
        diagonal[i] = dual.curvature[i] + where(binds, softness, free)
        dual.force[i] = where(binds, dual.centre[i] - target, zero)
    barrier(team)
    factor(S, diagonal, S[:, :0], 0, dual.side, size, True, least, team)
    solve_factored(S, diagonal, size, True, dual.force, team)
    multiply_symmetric(dual.pull, S, dual.curvature, True, dual.force, team)


@kernel(inline=True)
def limit_of(qp, side, i, p):
    """What row i is to be on that side: b for the first p rows, then the limits of G."""
    return qp.b[i] if i < p else where(side > 0, qp.limit[0, i - p], qp.limit[1, i - p])


@kernel
def keep_pressed(qp, dual, sizes, team):
    """Keep the rows whose multiplier has the sign of their side."""
    zero = like(0, qp.q[0])
    for k in range(team.lane, sizes.m, team.width):
        i = sizes.p + k
        kept = (qp.fixed[k] > 0) | (dual.force[i] * dual.side[i] > 0)
        dual.side[i] = where(kept, dual.side[i], zero)
    barrier(team)


@kernel
def look(qp, dual, search, parameters, sizes, team):
    """Count the rows that were taken wrongly, and take them otherwise where the search goes on."""
    searching, found, steps, least, waited = search
    zero, one, p = like(0, qp.q[0]), like(1, qp.q[0]), sizes.p
    force, reach = zero, zero
    for i in range(team.lane, p + sizes.m, team.width):
        force = larger(force, abs(dual.force[i]))
        reach = larger(reach, abs(dual.centre[i]) + abs(dual.pull[i]))
    slight = -like(NOTHING, zero) * team_max(force, team)
    near = like(NOTHING, zero) * team_max(reach, team)
    wrong = zero
    for k in range(team.lane, sizes.m, team.width):
        i = p + k
        side, value = dual.side[i], dual.centre[i] - dual.pull[i]
        above = (qp.present[0, k] > 0) & (value > qp.limit[0, k] + near)
        below = (qp.present[1, k] > 0) & (value < qp.limit[1, k] - near)
        binds = (qp.fixed[k] > 0) | (dual.force[i] * side > slight)
        free = where(above, one, where(below, -one, zero))
        better = where(side == zero, free, where(binds, side, zero))
        wrong += where(better == side, zero, one)
        dual.right[i] = better
    wrong = team_sum(wrong, team)
    steps = where(searching, steps + one, steps)
    found = found | (searching & (wrong == zero))
    waited = where(wrong < least, zero, waited + one)
    least = where(wrong < least, wrong, least)
    searching = searching & (wrong > zero) & (waited < like(parameters.leave, one))
    searching = searching & (steps < like(parameters.max_iterations, one))
    for i in range(p + team.lane, p + sizes.m, team.width):
        dual.side[i] = where(searching, dual.right[i], dual.side[i])
    barrier(team)
    return Search(searching, found, steps, least, waited)


@kernel
def note_search(work, dual, iteration, searching, sizes, team):
    """Note the point that belongs to the multipliers, if the caller asked for a trace."""
    if work.outcome.trace.shape[0] > 0:
        place(work, dual, sizes, team)
        multiply_C(work.at.Cx, work.qp, work.at.x, team)
        project(work.qp, work.at, work.best, sizes, team)
        residuals(work.qp, work.at, work.residual, work.system.soft[0], sizes, team)
        note_iterate(work, iteration, searching, sizes, team)


# ---- the answer ----------------------------------------------------------------------------------


@kernel
def take_out_softness(qp, dual, delta, sizes, team):
    """Correct multipliers that solve (S + δ I) λ = c for what δ did: δ λ is left of c - S λ."""
    n, zero, size = sizes.n, like(0, qp.q[0]), sizes.p + sizes.m
    for i in range(team.lane, size, team.width):
        free = dual.side[i] == zero
        dual.right[i] = where(free, zero, like(delta, zero) * dual.force[i])
    barrier(team)
    solve_factored(qp.K[n:, n:], dual.diagonal[n:], size, True, dual.right, team)
    for i in range(team.lane, size, team.width):
        dual.force[i] += dual.right[i]
    barrier(team)


@kernel
def place(work, dual, sizes, team):
    """The point that belongs to the multipliers: x = -Q⁻¹(q + Cᵀv + Aᵀy)."""
    qp, at, zero = work.qp, work.at, like(0, work.qp.q[0])
    n, p = sizes.n, sizes.p
    for i in range(team.lane, p + sizes.m, team.width):
        dual.force[i] = where(dual.side[i] == zero, zero, dual.force[i])
    barrier(team)
    multiply(at.x, qp.K[:n, n:], dual.force, team)
    for j in range(team.lane, n, team.width):
        at.x[j] = -(qp.q[j] + at.x[j])
    for i in range(team.lane, p, team.width):
        at.y[i] = dual.force[i]
    for k in range(team.lane, sizes.m, team.width):
        at.v[k] = dual.force[p + k]
    barrier(team)
    solve_Q(qp, dual, at.x, team)


@kernel
def polish(work, dual, status, found, parameters, sizes, team):
    """Correct the point until it is as exact as it can be; SOLVED where that is enough (5)."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    for round in range(ROUNDS + 1):
        multiply_C(at.Cx, qp, at.x, team)
        project(qp, at, best, sizes, team)
        residuals(qp, at, residual, system.soft[0], sizes, team)
        above = excess(work, parameters.tol, parameters.reach, sizes, team)
        good = (status == RUNNING) & found & (above.aim <= 1)
        status = where(good, like(SOLVED, status), status)
        left = (status == RUNNING) & found
        if round == ROUNDS or not any_lane(left):
            break
        correct(work, dual, sizes, team)
        add_where(left, at, fix, sizes, team)
    return status


@kernel
def correct(work, dual, sizes, team):
    """Newton's step for the rows that bind as equations."""
    qp, at, residual, fix, system = work.qp, work.at, work.residual, work.fix, work.system
    n, p, zero = sizes.n, sizes.p, like(0, work.qp.q[0])
    size = p + sizes.m
    S, rows = qp.K[n:, n:], qp.K[:n, n:]
    for j in range(team.lane, n, team.width):
        fix.x[j] = -residual.dual[j]
    barrier(team)
    solve_Q(qp, dual, fix.x, team)
    multiply_transposed(dual.right, rows, fix.x, team)
    for i in range(team.lane, size, team.width):
        gap = residual.equality[i] if i < p else limit_of(qp, dual.side[i], i, p) - at.Cx[i - p]
        dual.right[i] = where(dual.side[i] == zero, zero, dual.right[i] - gap)
    barrier(team)
    solve_factored(S, dual.diagonal[n:], size, True, dual.right, team)
    multiply(system.right[:n], rows, dual.right, team)
    solve_Q(qp, dual, system.right[:n], team)
    for j in range(team.lane, n, team.width):
        fix.x[j] -= system.right[j]
    for i in range(team.lane, p, team.width):
        fix.y[i] = dual.right[i]
    for k in range(team.lane, sizes.m, team.width):
        fix.v[k] = where(dual.side[p + k] == zero, zero, dual.right[p + k])
    barrier(team)
    multiply_C(fix.Cx, qp, fix.x, team)
