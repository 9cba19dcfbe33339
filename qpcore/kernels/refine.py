"""Solve the unreduced system (13) by refinement with the factor of the regularised one (10)."""

from collections import namedtuple

from qpcore.kernels.activity import UNBOUND, size_of
from qpcore.kernels.kkt import add_where, multiply_kkt
from qpcore.kernels.machine import any_lane, barrier, kernel, larger, like, team_max, where
from qpcore.kernels.system import solve_system

# Solves with the one factor at most: the first, and refinements while they pay. Most problems take
# two; where Q has eigenvalues near rho, each one halves the error.
ROUNDS = 40

# Right-hand sides of (13): what is to be met is M d = -target.
Target = namedtuple("Target", "x y v")

# left: the residual; terms: the largest term in it; size: that of the solution; growth: how much
# larger than its right-hand side a solution was at most.
Refined = namedtuple("Refined", "left terms size growth")


@kernel
def refine(work, point, target, left, enough, wanted, sizes, team):
    """Solve M point = -target (13) from where the point is, as long as that halves the residual.

    On entry `left` is that residual, and the right-hand sides are aimed at it. `enough` is the
    residual, relative to the largest term, at which it may rest.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    zero = like(0, qp.q[0])
    size = size_of(point, sizes, team)
    terms, growth, before = larger(left, size), zero, like(UNBOUND, zero)
    improving = wanted & (left > 0)
    for _ in range(ROUNDS):
        improving = improving & (left + left < before) & (left > enough * terms)
        if not any_lane(improving):
            break
        before = where(improving, left, before)
        solve_system(qp, system, fix, sizes, team)
        add_where(improving, point, fix, sizes, team)
        ratio = size_of(fix, sizes, team) / before
        growth = where(improving, larger(growth, ratio), growth)
        left = aim(work, point, target, sizes, team)
        size = size_of(point, sizes, team)
        terms = larger(terms, size)
    return Refined(left, terms, size, growth)


@kernel
def aim(work, point, target, sizes, team):
    """Right-hand sides that take the residual of (13) at a point away; its size is returned."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n, one = sizes.n, like(1, qp.q[0])
    multiply_kkt(system.right, work, point, sizes, team)
    error = one - one
    for j in range(team.lane, n, team.width):
        system.right[j] = -target.x[j] - system.right[j]
        error = larger(error, abs(system.right[j]))
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = -target.y[i] - system.right[n + i]
        error = larger(error, abs(system.right[n + i]))
    for i in range(team.lane, sizes.rows, team.width):
        T = system.damp[i]
        r = T * point.v[i] - point.Cx[i] - target.v[i]
        system.push[i] = -system.weight[i] * r
        error = larger(error, abs(r) / (one + T))
    barrier(team)
    return team_max(error, team)


@kernel
def aim_from_zero(work, target, sizes, team):
    """What `aim` does at the point zero, where there are no products."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n, one = sizes.n, like(1, qp.q[0])
    error = one - one
    for j in range(team.lane, n, team.width):
        system.right[j] = -target.x[j]
        error = larger(error, abs(target.x[j]))
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = -target.y[i]
        error = larger(error, abs(target.y[i]))
    for i in range(team.lane, sizes.rows, team.width):
        system.push[i] = system.weight[i] * target.v[i]
        error = larger(error, abs(target.v[i]) / (one + system.damp[i]))
    barrier(team)
    return team_max(error, team)


@kernel
def set_zero(point, sizes, team):
    """x, y, v, Cx = 0."""
    zero = like(0, point.x[0])
    for j in range(team.lane, sizes.n, team.width):
        point.x[j] = zero
    for i in range(team.lane, sizes.p, team.width):
        point.y[i] = zero
    for i in range(team.lane, sizes.rows, team.width):
        point.v[i], point.Cx[i] = zero, zero
    barrier(team)


@kernel
def copy(out, point, sizes, team):
    """x, y, v of another point."""
    for j in range(team.lane, sizes.n, team.width):
        out.x[j] = point.x[j]
    for i in range(team.lane, sizes.p, team.width):
        out.y[i] = point.y[i]
    for i in range(team.lane, sizes.rows, team.width):
        out.v[i] = point.v[i]
    barrier(team)
