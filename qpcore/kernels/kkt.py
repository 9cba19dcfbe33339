"""The Newton system of the interior-point method: weigh the rows, factor once, solve as often as asked.

Numbers in brackets are equations of derivation.md.
"""

from qpcore.kernels.linalg import factor, multiply, multiply_transposed, solve_factored
from qpcore.kernels.machine import barrier, kernel, like, where


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
def weigh(qp, at, system, delta, sizes, team):
    """Row weights W = z₊/s₊ + z₋/s₋, regularised: weight = damp W, damp = 1 / (1 + δ W) (8)."""
    one = like(1, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        W = one - one
        for side in range(2):
            if sizes.first[side] <= i < sizes.last[side]:
                W += at.z[side, i] / at.s[side, i]
        damp = one / (one + delta * W)
        equality = qp.fixed[i] > 0
        system.weight[i] = where(equality, one / delta, damp * W)
        system.damp[i] = damp
    barrier(team)


@kernel
def factor_kkt(qp, system, rho, delta, sizes, team):
    """Factor the condensed matrix [[Q + ρI + Cᵀ diag(weight) C, Aᵀ], [A, -δI]] (8, 9)."""
    n, m = sizes.n, sizes.m
    for j in range(team.lane, n, team.width):
        system.diagonal[j] = qp.Q_diagonal[j] + rho
        if sizes.rows > m:
            system.diagonal[j] += system.weight[m + j]
    for i in range(n + team.lane, n + sizes.p, team.width):
        system.diagonal[i] = like(-delta, qp.q[0])
    barrier(team)
    factor(qp.K, system.diagonal, qp.Gt, system.weight, n + sizes.p, team)


@kernel
def solve_kkt(qp, system, step, sizes, team):
    """Solve for dx, dy (left in `right`), C dx and dv, given `right` = [rx; ry] and `push` (8)."""
    n = sizes.n
    multiply_C_transposed(step.x, qp, system.push, team)
    for j in range(team.lane, n, team.width):
        system.right[j] -= step.x[j]
    barrier(team)
    solve_factored(qp.K, system.diagonal, n, system.right, team)
    for j in range(team.lane, n, team.width):
        step.x[j] = system.right[j]
    barrier(team)
    multiply_C(step.Cx, qp, step.x, team)
    for i in range(team.lane, sizes.rows, team.width):
        step.v[i] = system.weight[i] * step.Cx[i] + system.push[i]
    barrier(team)
