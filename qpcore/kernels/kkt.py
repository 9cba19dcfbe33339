"""The Newton system of the interior-point method: weigh rows, factor once, solve as often as asked.

Numbers in brackets are equations of derivation.md.
"""

from qpcore.kernels.dense import (
    factor,
    multiply,
    multiply_symmetric,
    multiply_transposed,
    solve_factored,
)
from qpcore.kernels.machine import any_lane, barrier, kernel, like, where


@kernel(inline=True)
def are_coupled(qp):
    """Whether variables meet in Q or in rows of G, in any of the problems in a pack."""
    return any_lane(qp.coupled[0] > 0)


@kernel
def multiply_Q(out, qp, x, team):
    """out = Q x."""
    multiply_symmetric(out, qp.K, qp.Q_diagonal, are_coupled(qp), x, team)


@kernel
def multiply_C(out, qp, x, team):
    """out = C x = [Gx; x]."""
    n, m = qp.Gt.shape
    multiply_transposed(out[:m], qp.Gt, x, team)
    for j in range(team.lane, out.shape[0] - m, team.width):
        out[m + j] = x[j]
    barrier(team)


@kernel
def multiply_C_transposed(out, qp, v, team):
    """out = Cᵀ v = Gᵀ v[:m] + v[m:]."""
    n, m = qp.Gt.shape
    multiply(out, qp.Gt, v, team)
    for j in range(team.lane, v.shape[0] - m, team.width):
        out[j] += v[m + j]
    barrier(team)


@kernel
def regularise(system, rho, delta, team):
    """Set the regularisation of variables and rows (7); soft rows give way besides (6)."""
    if team.lane == 0:
        system.rho[0], system.delta[0] = rho, delta + system.soft[0]
    barrier(team)


@kernel
def weigh(qp, at, system, sizes, team):
    """Row weights W = z₊/s₊ + z₋/s₋, regularised: weight = damp W, damp = 1 / (1 + δ W) (8)."""
    one, delta = like(1, qp.q[0]), system.delta[0]
    for i in range(team.lane, sizes.rows, team.width):
        W = one - one
        for side in range(2):
            if sizes.first[side] <= i < sizes.last[side]:
                per_s = one / at.s[side, i]
                W += at.z[side, i] * per_s
                system.per_s[side, i] = per_s
        damp = one / (one + delta * W)
        equality = qp.fixed[i] > 0
        system.weight[i] = where(equality, one / delta, damp * W)
        system.damp[i] = damp
    barrier(team)


@kernel
def factor_kkt(qp, system, sizes, team):
    """Factor the condensed matrix [[Q + ρI + Cᵀ diag(weight) C, Aᵀ], [A, -δI]] (8, 9)."""
    n, m, rho, delta = sizes.n, sizes.m, system.rho[0], system.delta[0]
    for j in range(team.lane, n, team.width):
        system.diagonal[j] = qp.Q_diagonal[j] + rho
        if sizes.rows > m:
            system.diagonal[j] += system.weight[m + j]
    for i in range(n + team.lane, n + sizes.p, team.width):
        system.diagonal[i] = -delta
    barrier(team)
    coupled, size = are_coupled(qp), n + sizes.p
    factor(qp.K, system.diagonal, qp.Gt, m, system.weight, size, coupled, rho, team)


@kernel
def solve_kkt(qp, system, out, sizes, team):
    """Solve for x, y, Cx and v in `out`, given `right` = [rx; ry] and `push` (8)."""
    n = sizes.n
    multiply_C_transposed(out.x, qp, system.push, team)
    for j in range(team.lane, n, team.width):
        system.right[j] -= out.x[j]
    barrier(team)
    solve_factored(qp.K, system.diagonal, n, are_coupled(qp), system.right, team)
    for j in range(team.lane, n, team.width):
        out.x[j] = system.right[j]
    for i in range(team.lane, sizes.p, team.width):
        out.y[i] = system.right[n + i]
    barrier(team)
    multiply_C(out.Cx, qp, out.x, team)
    for i in range(team.lane, sizes.rows, team.width):
        out.v[i] = system.weight[i] * out.Cx[i] + system.push[i]
    barrier(team)


@kernel
def multiply_kkt(out, work, point, sizes, team):
    """out = [Qx + Cᵀv + Aᵀy; Ax] at a point, the unregularised dual and equality rows."""
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n = sizes.n
    multiply_Q(products.Qx, qp, point.x, team)
    multiply_C_transposed(products.pull, qp, point.v, team)
    multiply(out[:n], qp.At, point.y, team)
    for j in range(team.lane, n, team.width):
        out[j] += products.Qx[j] + products.pull[j]
    multiply_transposed(out[n:], qp.At, point.x, team)


@kernel
def add_where(wanted, point, fix, sizes, team):
    """Add a correction to x, v, y and Cx where it is wanted."""
    for j in range(team.lane, sizes.n, team.width):
        point.x[j] = where(wanted, point.x[j] + fix.x[j], point.x[j])
    for i in range(team.lane, sizes.p, team.width):
        point.y[i] = where(wanted, point.y[i] + fix.y[i], point.y[i])
    for i in range(team.lane, sizes.rows, team.width):
        point.v[i] = where(wanted, point.v[i] + fix.v[i], point.v[i])
        point.Cx[i] = where(wanted, point.Cx[i] + fix.Cx[i], point.Cx[i])
    barrier(team)
