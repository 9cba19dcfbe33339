"""The Newton step: eliminate slacks and rows, solve, refine, recover, move (7, 8, 10)."""

from qpcore.kernels.kkt import add_where, multiply_kkt, solve_kkt
from qpcore.kernels.machine import any_lane, barrier, kernel, like, negate, where

# Rounds of iterative refinement where a problem needs care.
REFINEMENTS = 1


@kernel(inline=True)
def outward(side, number):
    """The sign of a side: + for the upper one, - for the lower one."""
    return number if side == 0 else -number


@kernel
def newton(work, careful, sizes, team):
    """The Newton step towards the target: eliminate slacks and rows, solve, recover (7, 8)."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n = sizes.n
    for i in range(team.lane, sizes.rows, team.width):
        pull = like(0, qp.q[0])
        for side in range(2):
            if sizes.first[side] <= i < sizes.last[side]:
                r, z = residual.sides[side, i], at.z[side, i]
                pull += outward(side, (step.target[side, i] - z * r) * system.per_s[side, i])
        equality = -system.weight[i] * residual.sides[0, i]
        system.push[i] = where(qp.fixed[i] > 0, equality, system.damp[i] * pull)
    for j in range(team.lane, n, team.width):
        system.right[j] = -residual.dual[j]
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = residual.equality[i]
    barrier(team)
    solve_kkt(qp, system, step, sizes, team)
    if any_lane(careful):
        refine(work, careful, sizes, team)
    for i in range(team.lane, sizes.rows, team.width):
        moved, dv = step.Cx[i] - system.delta[0] * step.v[i], step.v[i]
        for side in range(2):
            if sizes.first[side] <= i < sizes.last[side]:
                ds = qp.present[side, i] * (residual.sides[side, i] - outward(side, moved))
                dz = (step.target[side, i] - at.z[side, i] * ds) * system.per_s[side, i]
                step.s[side, i], step.z[side, i] = ds, dz
                dv -= outward(side, dz)
        share_rounding(qp, at, step, dv, i, sizes)
    barrier(team)


@kernel
def refine(work, careful, sizes, team):
    """Iterative refinement of dx, dv, dy on the regularised Newton system, where asked for (10)."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n = sizes.n
    for i in range(team.lane, sizes.rows, team.width):
        system.push[i] = like(0, qp.q[0])
    for _ in range(REFINEMENTS):
        multiply_kkt(system.right, work, step, sizes, team)
        for j in range(team.lane, n, team.width):
            known = system.right[j] + system.rho[0] * step.x[j]
            system.right[j] = -residual.dual[j] - known
        for i in range(team.lane, sizes.p, team.width):
            known = system.right[n + i] - system.delta[0] * step.y[i]
            system.right[n + i] = residual.equality[i] - known
        barrier(team)
        solve_kkt(qp, system, fix, sizes, team)
        add_where(careful, step, fix, sizes, team)


@kernel(inline=True)
def share_rounding(qp, at, step, excess, i, sizes):
    """Make dz₊ - dz₋ equal dv to the last bit, as stationarity wants; the binding side yields.

    Close to the answer dz comes from a tiny ds over a tiny s and has few correct digits; dv, which
    the KKT matrix gave, has them all. Without this float32 fails on data in other units.
    """
    zero = like(0, excess)
    upper, lower = qp.present[0, i] > 0, qp.present[1, i] > 0
    one_sided = upper & negate(lower)
    if sizes.first[1] <= i < sizes.last[1]:
        if sizes.first[0] <= i < sizes.last[0]:
            closer = at.z[0, i] * at.s[1, i] > at.z[1, i] * at.s[0, i]
            to_upper = one_sided | (upper & closer)
            step.z[0, i] += where(to_upper, excess, zero)
            step.z[1, i] -= where(lower & negate(to_upper), excess, zero)
        else:
            step.z[1, i] -= where(lower, excess, zero)
    elif sizes.first[0] <= i < sizes.last[0]:
        step.z[0, i] += where(upper, excess, zero)


@kernel
def move(qp, at, step, alpha, running, sizes, team):
    """Take the step, where the problem is still running."""
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = where(running, at.x[j] + alpha * step.x[j], at.x[j])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(running, at.y[i] + alpha * step.y[i], at.y[i])
    for side in range(2):
        for i in range(sizes.first[side] + team.lane, sizes.last[side], team.width):
            s, z = at.s[side, i], at.z[side, i]
            at.s[side, i] = where(running, s + alpha * step.s[side, i], s)
            at.z[side, i] = where(running, z + alpha * step.z[side, i], z)
    barrier(team)
    for i in range(team.lane, sizes.rows, team.width):
        net = at.z[0, i] - at.z[1, i]
        net = where(qp.fixed[i] > 0, at.v[i] + alpha * step.v[i], net)
        at.v[i] = where(running, net, at.v[i])
    barrier(team)
