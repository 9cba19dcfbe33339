"""The starting point (12): one Newton step from zero, then slacks and multipliers made positive."""

from qpcore.kernels.kkt import factor_kkt, regularise, weigh
from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, where
from qpcore.kernels.newton import move, newton, outward
from qpcore.kernels.stopping import OVERFLOW

# Limits that are so many times farther away than any row reaches do not make multipliers larger.
FAR = 100.0

# A start whose slacks all exceed this needs no shift.
CLOSE = 1e-8


@kernel
def start(work, status, parameters, sizes, team):
    """Least squares for the slacks, then slacks and multipliers moved into the orthant (12)."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    everywhere = status < 0
    least_squares(work, everywhere, parameters, sizes, team)
    move(qp, at, step, like(1, qp.q[0]), everywhere, sizes, team)
    enter_orthant(qp, at, step, sizes, team)


@kernel
def least_squares(work, careful, parameters, sizes, team):
    """The Newton step from zero, with the weight `pull` on every side and no sign asked for."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    place_at_zero(qp, at, residual, step, parameters.pull, sizes, team)
    one = like(1, qp.q[0])
    regularise(system, parameters.rho * one, parameters.delta * one, team)
    weigh(qp, at, system, sizes, team)
    factor_kkt(qp, system, sizes, team)
    newton(work, careful, sizes, team)


@kernel
def place_at_zero(qp, at, residual, step, pull, sizes, team):
    """Zero variables and slacks, whose residuals are the data; weight one on every side."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = zero
        residual.dual[j] = qp.q[j]
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = zero
        residual.equality[i] = qp.b[i]
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = zero
        for side in range(2):
            at.s[side, i] = one
            at.z[side, i] = qp.present[side, i] * pull
            step.target[side, i] = zero
            residual.sides[side, i] = qp.present[side, i] * outward(side, qp.limit[side, i])
        residual.sides[0, i] += qp.fixed[i] * qp.limit[0, i]
    barrier(team)


@kernel
def enter_orthant(qp, at, step, sizes, team):
    """s = slack + shift, z = shift - slack, each shifted so far that it is well positive (12)."""
    zero, one = like(0, qp.q[0]), like(1, qp.q[0])
    least, close = like(-OVERFLOW, zero), like(-CLOSE, zero)
    reach = zero
    for i in range(team.lane, sizes.rows, team.width):
        reach = larger(reach, abs(step.Cx[i]))
    far = like(FAR, zero) * (one + team_max(reach, team))
    short, long = least, least
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            slack = outward(side, qp.limit[side, i] - step.Cx[i])  # x = dx: C x = C dx
            at.s[side, i] = slack
            short = larger(short, where(qp.present[side, i] > 0, -slack, least))
            near = where(slack < far, slack, far)
            long = larger(long, where(qp.present[side, i] > 0, near, least))
    short = team_max(short, team)
    long = team_max(long, team)
    primal = where(short > close, one + short, zero)
    dual = where(long > close, one + long, zero)
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            slack, present = at.s[side, i], qp.present[side, i] > 0
            at.s[side, i] = where(present, primal + slack, one)
            near = where(slack < far, slack, far)
            at.z[side, i] = where(present, dual - near, zero)
    barrier(team)  # the rows of a side go round the lanes from its first one
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = where(qp.fixed[i] > 0, at.v[i], at.z[0, i] - at.z[1, i])
    barrier(team)
