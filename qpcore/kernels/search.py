"""The search for the rows that bind, in the space of their multipliers (19).

All rows begin on the side of their nearer limit, and give way a little; those that are pressed the
right way stay. Then, step by step, rows with a multiplier of the wrong sign are set free, and rows
beyond their limit are taken in: mostly that ends after a few steps, else it is given up.
"""

from collections import namedtuple

from qpcore.kernels.binding import factor_binding, solve_binding
from qpcore.kernels.dense import factor, multiply_symmetric, solve_factored
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

# What is added to R's diagonal at first, as a share of it.
FIRST = 0.01

# A multiplier or slack of the wrong sign counts beyond this share of the largest.
NOTHING = 1e-12

# least: the fewest rows taken wrongly so far; waited: steps since; found: none is.
Search = namedtuple("Search", "searching found steps least waited")


@kernel
def begin(work, dual, firm, parameters, sizes, team):
    """Take all rows, and keep those whose multiplier has the sign of their side."""
    qp, zero, one = work.qp, like(0, work.qp.q[0]), like(1, work.qp.q[0])
    for k in range(team.lane, sizes.m, team.width):
        upper, lower, centre = qp.limit[0, k], qp.limit[1, k], dual.centre[k]
        nearer = (centre + centre < upper + lower) | (qp.present[0, k] == zero)
        below, above = qp.present[1, k] > 0, qp.present[0, k] > 0
        side = where(below & nearer, -one, where(above, one, zero))
        dual.side[k] = where(qp.fixed[k] > 0, one, side)
        soft = larger(like(parameters.delta, zero), like(FIRST, zero) * dual.curvature[k])
        dual.pull[k] = where(qp.fixed[k] > 0, like(parameters.delta, zero), soft)
    barrier(team)
    solve_softened(work, dual, parameters.delta, sizes, team)
    for k in range(team.lane, sizes.m, team.width):
        kept = (qp.fixed[k] > 0) | (dual.force[k] * dual.side[k] > 0)
        dual.side[k] = where(kept, dual.side[k], zero)
    barrier(team)
    return Search(firm, zero > one, work.outcome.iterations[0], like(sizes.m + 1, zero), zero)


@kernel
def solve_rows(work, dual, delta, sizes, team):
    """Multipliers of the rows that bind, in `force`, and R times them, in `pull`."""
    R = work.qp.K[sizes.n + sizes.p :, sizes.n + sizes.p :]
    soft = like(delta, dual.force[0])
    gaps(dual, work.qp, sizes, team)
    for k in range(sizes.m):
        dual.pull[k] = dual.curvature[k] + soft
    factor_binding(work.qp, dual, soft, sizes, team)
    solve_binding(work.qp, dual, dual.force, sizes, team)
    multiply_symmetric(dual.pull, R, dual.curvature, True, dual.force, team)


@kernel
def solve_softened(work, dual, floor, sizes, team):
    """Factor R + diag(pull), and solve for the multipliers that take rows to their limits."""
    qp, zero, first = work.qp, like(0, work.qp.q[0]), sizes.n + sizes.p
    R, diagonal = qp.K[first:, first:], dual.diagonal[first:]
    gaps(dual, qp, sizes, team)
    for k in range(team.lane, sizes.m, team.width):
        diagonal[k] = dual.curvature[k] + dual.pull[k]
    barrier(team)
    least = like(floor, zero)
    factor(R, diagonal, R[:, :0], 0, dual.side, sizes.m, True, least, team)
    solve_factored(R, diagonal, sizes.m, True, dual.force, team)


@kernel
def gaps(dual, qp, sizes, team):
    """How far rows are beyond the limits that they are to be at, in `force`."""
    zero = like(0, qp.q[0])
    for k in range(team.lane, sizes.m, team.width):
        side = dual.side[k]
        gap = dual.centre[k] - where(side > 0, qp.limit[0, k], qp.limit[1, k])
        dual.force[k] = where(side == zero, zero, gap)
    barrier(team)


@kernel
def look(work, dual, search, parameters, sizes, team):
    """Count the rows that were taken wrongly, and take them otherwise where the search goes on."""
    searching, found, steps, least, waited = search
    qp, zero, one = work.qp, like(0, work.qp.q[0]), like(1, work.qp.q[0])
    force, reach = zero, zero
    for k in range(team.lane, sizes.m, team.width):
        force = larger(force, abs(dual.force[k]))
        reach = larger(reach, abs(dual.centre[k]) + abs(dual.pull[k]))
    slight = -like(NOTHING, zero) * team_max(force, team)
    near = like(NOTHING, zero) * team_max(reach, team)
    wrong = zero
    for k in range(team.lane, sizes.m, team.width):
        side, value = dual.side[k], dual.centre[k] - dual.pull[k]
        above = (qp.present[0, k] > 0) & (value > qp.limit[0, k] + near)
        below = (qp.present[1, k] > 0) & (value < qp.limit[1, k] - near)
        binds = (qp.fixed[k] > 0) | (dual.force[k] * side > slight)
        taken = where(above, one, where(below, -one, zero))
        better = where(side == zero, taken, where(binds, side, zero))
        wrong += where(better == side, zero, one)
        dual.right[k] = better
    wrong = team_sum(wrong, team)
    steps = where(searching, steps + one, steps)
    found = found | (searching & (wrong == zero))
    waited = where(wrong < least, zero, waited + one)
    least = where(wrong < least, wrong, least)
    searching = searching & (wrong > zero) & (waited < like(parameters.leave, one))
    searching = searching & (steps < like(parameters.max_iterations, one))
    for k in range(team.lane, sizes.m, team.width):
        dual.side[k] = where(searching, dual.right[k], dual.side[k])
    barrier(team)
    return Search(searching, found, steps, least, waited)


@kernel(inline=True)
def is_over(search):
    """Whether no problem is searched on."""
    return not any_lane(search.searching)


@kernel
def take_out_softness(work, dual, delta, sizes, team):
    """Correct multipliers with (R + δ I) λ = c for what δ did: δ λ is left of c - R λ."""
    for k in range(team.lane, sizes.m, team.width):
        dual.right[k] = like(delta, dual.force[k]) * dual.force[k]
    barrier(team)
    solve_binding(work.qp, dual, dual.right, sizes, team)
    for k in range(team.lane, sizes.m, team.width):
        dual.force[k] += dual.right[k]
    barrier(team)
