"""The derivative of the answer, transposed: one more solve with the KKT matrix at the answer (13).

The matrix is made of the data and (x, v, y): the last factor of an interior-point method belongs to
an earlier iterate. In the dual form the factor of a solve serves again, as it does not depend on
the answer (`system.py`). Rows with a multiplier act as equalities, the others not at all;
refinement on the unreduced system takes the regularisation out again.
"""

from collections import namedtuple

from qpcore.kernels.activity import weigh_relaxed
from qpcore.kernels.kkt import regularise
from qpcore.kernels.machine import barrier, kernel, larger, like, negate, where
from qpcore.kernels.presolve import fix_equal_limits
from qpcore.kernels.quality import ROUGH, certify, polish, probe
from qpcore.kernels.refine import Target, aim_from_zero, copy, refine, set_zero
from qpcore.kernels.scaling import from_original, to_original
from qpcore.kernels.sharpen import sharpen
from qpcore.kernels.system import factor_system
from qpcore.kernels.transfer import store_points
from qpcore.kernels.vectors import store_rows

# How an answer is differentiated. rho, delta: regularisation of the factor. mu: that of the barrier
# problem, in the units of the data; zero for the problem itself. enough: residual, relative to the
# largest term, at which refinement rests; rounding: what residuals owe to rounding.
Rules = namedtuple("Rules", "rho delta mu enough rounding")

# Refinement goes on until the error that its residual can stand for, by the growth seen so far, is
# this, relative to the solution, or rounding stops it. On 400 problems with Q of condition 1e8 and
# n = 50, resting at `enough` left errors of 1.8e-5.
PRECISE = 1e-9

# What comes out: the solution of the adjoint system, the answer it belongs to, and a row of
# Certificate for each problem.
Derivative = namedtuple("Derivative", "adjoint answer certificate")


@kernel
def differentiate(work, rules, sizes, team):
    """Turn the cotangents of x, v, y in `residual` into those of the equations, in `at` (13).

    On entry `at` holds the answer, `residual` the cotangents: x̄ in Qx, v̄ in sides[0], ȳ in Ax.
    The answer, made exact to the last digits where that is possible, goes to `step`.
    """
    fix_equal_limits(work.qp, sizes, team)
    differentiate_prepared(work, rules, sizes, team)


@kernel
def differentiate_prepared(work, rules, sizes, team):
    """The same in a workspace where rows with equal limits are known."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    scale_answer(work, sizes, team)
    one = like(1, qp.q[0])
    zero = one - one
    if team.lane == 0:
        system.soft[0] = zero
    regularise(system, rules.rho * one, rules.delta * one, team)
    margin, condition, doubt = one, zero, zero
    if rules.mu > 0:
        weigh_relaxed(qp, at, rules.mu * scale.cost[0], system, sizes, team)
        factor_system(qp, system, sizes, team)
    else:
        margin, off, growth, clear, settled = sharpen(work, sizes, team)
        singular, condition = probe(work, rules, sizes, team)
        margin = where(singular, zero, margin)
        doubt = where(clear, off * larger(off, rules.rho * larger(condition, growth)), off)
        rough = clear & ((doubt > like(ROUGH, off)) | negate(settled))
        doubt = polish(work, rules, rough, doubt, growth, sizes, team)
        condition = larger(condition, growth)
    copy(step, at, sizes, team)
    target = Target(residual.Qx, residual.Ax, residual.sides[0])
    set_zero(at, sizes, team)
    left = aim_from_zero(work, target, sizes, team)
    enough = rules.enough * one
    precise = like(PRECISE, one) / larger(one, condition)
    enough = larger(where(precise < enough, precise, enough), rules.rounding * one)
    found = refine(work, at, target, left, enough, one > 0, sizes, team)
    condition = larger(condition, found.growth)
    certify(outcome, margin, condition, doubt, found, rules, team)
    to_original(at, scale, one / scale.cost[0], sizes, team)
    to_original(step, scale, one / scale.cost[0], sizes, team)


@kernel
def scale_answer(work, sizes, team):
    """Bring the answer and the cotangents to the scale of the matrices (15)."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    from_original(at, scale, sizes, team)
    for j in range(team.lane, sizes.n, team.width):
        residual.Qx[j] *= scale.x[j] * scale.cost[0]
    for i in range(team.lane, sizes.rows, team.width):
        residual.sides[0, i] *= scale.rows[i]
    for i in range(team.lane, sizes.p, team.width):
        residual.Ax[i] *= scale.y[i]
    barrier(team)


@kernel
def store_derivative(derivative, work, sizes, first, slots, team):
    """Hand out the solution of the adjoint system, the answer it belongs to, and certificates."""
    barrier(team)
    store_points(derivative.adjoint, work.at, sizes, first, slots, team)
    store_points(derivative.answer, work.step, sizes, first, slots, team)
    store_rows(derivative.certificate, work.outcome.certificate, first, slots, team)
    barrier(team)
