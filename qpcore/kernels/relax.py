"""The barrier-relaxed problem: the point where every slack times its multiplier is μ (16).

Its solution moves smoothly with the data, also where that of the problem itself has a kink or is
not unique. Newton's method along the central path, with the verbs of the solver.
"""

from qpcore.kernels.activity import size_of
from qpcore.kernels.certificate import RUNNING
from qpcore.kernels.ipm import residuals, step_length
from qpcore.kernels.kkt import factor_kkt, regularise, weigh
from qpcore.kernels.machine import (
    any_lane,
    barrier,
    kernel,
    larger,
    like,
    negate,
    team_max,
    team_sum,
    where,
)
from qpcore.kernels.newton import move, newton
from qpcore.kernels.presolve import fix_equal_limits
from qpcore.kernels.scaling import to_original
from qpcore.kernels.start import start

# Steps at most, and by how much each of them aims to shrink the mean product on the way to μ.
STEPS, SHRINK = 100, 0.1


@kernel
def relax(work, mu, close, parameters, sizes, team):
    """Go to the point of the central path where s z = μ, in the units of the data; answer in `at`.

    `close`: how far products, relative to μ, and residuals, relative to the iterate, may be off.
    The outcome's status becomes zero where that was reached.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    fix_equal_limits(qp, sizes, team)
    one = like(1, qp.q[0])
    if team.lane == 0:
        system.soft[0] = one - one
    status = like(RUNNING, one)
    start(work, status, parameters, sizes, team)
    wanted = mu * scale.cost[0]
    for _ in range(STEPS):
        residuals(qp, at, residual, system.soft[0], sizes, team)
        running = status < 0
        arrived = distance(at, residual, qp, wanted, sizes, team) <= like(close, one)
        status = where(running & arrived, one - one, status)
        running = running & negate(arrived)
        if not any_lane(running):
            break
        regularise(system, parameters.rho * one, parameters.delta * one, team)
        weigh(qp, at, system, sizes, team)
        factor_kkt(qp, system, sizes, team)
        aim_at(qp, at, step, wanted, sizes, team)
        newton(work, running, sizes, team)
        share = like(parameters.shorten, one)
        alpha = step_length(at, step, system.per_s, share, sizes, team)
        move(qp, at, step, alpha, running, sizes, team)
    to_original(at, scale, one / scale.cost[0], sizes, team)
    if team.lane == 0:
        outcome.status[0] = status
    barrier(team)


@kernel
def aim_at(qp, at, step, wanted, sizes, team):
    """Ask for s z = μ, or for a tenth of the mean product as long as that is more."""
    count, total = like(0, qp.q[0]), like(0, qp.q[0])
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            count += qp.present[side, i]
            total += at.s[side, i] * at.z[side, i]
    mean = team_sum(total, team) / larger(like(1, count), team_sum(count, team))
    mu = larger(wanted, like(SHRINK, mean) * mean)
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            step.target[side, i] = qp.present[side, i] * (mu - at.s[side, i] * at.z[side, i])
    barrier(team)


@kernel
def distance(at, residual, qp, wanted, sizes, team):
    """How far the products are from μ and the residuals from zero, whichever is farther."""
    off, left = like(0, qp.q[0]), like(0, qp.q[0])
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            off = larger(off, qp.present[side, i] * abs(at.s[side, i] * at.z[side, i] - wanted))
            left = larger(left, abs(residual.sides[side, i]))
    for i in range(team.lane, sizes.rows, team.width):
        left = larger(left, abs(residual.sides[0, i]))
    for j in range(team.lane, sizes.n, team.width):
        left = larger(left, abs(residual.dual[j]))
    for i in range(team.lane, sizes.p, team.width):
        left = larger(left, abs(residual.equality[i]))
    size = size_of(at, sizes, team)
    return larger(team_max(off, team) / wanted, team_max(left, team) / (like(1, size) + size))
