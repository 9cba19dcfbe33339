"""The derivative of the answer, transposed: one more solve with the KKT matrix at the answer (13).

The matrix is factored anew from the data and (x, v, y): nothing is kept from the forward pass, whose
last factor belongs to an earlier iterate. Rows with a multiplier act as equalities, the others not
at all; iterative refinement on the unreduced system takes the regularisation out again.
"""

from qpcore.kernels.kkt import factor_kkt, multiply_C, multiply_C_transposed, solve_kkt
from qpcore.kernels.linalg import multiply, multiply_symmetric, multiply_transposed
from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, where
from qpcore.kernels.presolve import fix_equal_limits

# Slack per multiplier of a row without multiplier: it does not bind at all.
UNBOUND = 1e30

# Solves with the one factor: the first, and refinements of it.
ROUNDS = 3


@kernel
def differentiate(work, parameters, sizes, team):
    """Turn the cotangents of x, v, y in `residual` into those of the equations, in `at` (13).

    On entry `at` holds the answer, `residual` the cotangents: x̄ in Qx, v̄ in sides[0], ȳ in Ax.
    """
    qp, at, residual, step, system, outcome = work
    fix_equal_limits(qp, sizes, team)
    weigh_answer(qp, at, residual, system, parameters.delta, sizes, team)
    factor_kkt(qp, system, parameters.rho, parameters.delta, sizes, team)
    clear(at, sizes, team)
    error = like(UNBOUND, qp.q[0])
    improving = error > 0
    for _ in range(ROUNDS):
        news = aim(work, sizes, team)
        improving = improving & (news + news < error)
        error = news
        solve_kkt(qp, system, step, sizes, team)
        add_where(improving, at, step, system, sizes, team)


@kernel
def weigh_answer(qp, at, residual, system, delta, sizes, team):
    """T = slack / |v| of each row, kept in `damp`, and weight = 1 / (T + δ) (13)."""
    multiply_C(residual.Cx, qp, at.x, team)
    zero, one, unbound = like(0, qp.q[0]), like(1, qp.q[0]), like(UNBOUND, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        v, Cx = at.v[i], residual.Cx[i]
        slack = where(v > 0, qp.limit[0, i] - Cx, Cx - qp.limit[1, i])
        T = where(abs(v) > 0, larger(zero, slack) / abs(v), unbound)
        T = where(T < unbound, T, unbound)
        T = where(qp.fixed[i] > 0, zero, T)
        system.damp[i] = T
        system.weight[i] = one / (T + delta)
    barrier(team)


@kernel
def clear(at, sizes, team):
    """Start the solution of the adjoint system at zero."""
    zero = like(0, at.x[0])
    for j in range(team.lane, sizes.n, team.width):
        at.x[j] = zero
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = zero
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = zero
    barrier(team)


@kernel
def aim(work, sizes, team):
    """Right-hand sides that take the unreduced system's residual (13) away; its size is returned."""
    qp, at, residual, step, system, outcome = work
    n = sizes.n
    multiply_symmetric(step.x, qp.K, qp.Q_diagonal, at.x, team)
    multiply(residual.Ay, qp.At, at.y, team)
    multiply_transposed(system.right[n:], qp.At, at.x, team)
    multiply_C(residual.Cx, qp, at.x, team)
    multiply_C_transposed(residual.Cv, qp, at.v, team)
    error = like(0, qp.q[0])
    one = like(1, error)
    for j in range(team.lane, n, team.width):
        system.right[j] = -residual.Qx[j] - step.x[j] - residual.Cv[j] - residual.Ay[j]
        error = larger(error, abs(system.right[j]))
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = -residual.Ax[i] - system.right[n + i]
        error = larger(error, abs(system.right[n + i]))
    for i in range(team.lane, sizes.rows, team.width):
        T = system.damp[i]
        r = T * at.v[i] - residual.Cx[i] - residual.sides[0, i]
        system.push[i] = -system.weight[i] * r
        error = larger(error, abs(r) / (one + T))
    barrier(team)
    return team_max(error, team)


@kernel
def add_where(improving, at, step, system, sizes, team):
    """Add the correction, where the last one helped."""
    n = sizes.n
    for j in range(team.lane, n, team.width):
        at.x[j] = where(improving, at.x[j] + step.x[j], at.x[j])
    for i in range(team.lane, sizes.p, team.width):
        at.y[i] = where(improving, at.y[i] + system.right[n + i], at.y[i])
    for i in range(team.lane, sizes.rows, team.width):
        at.v[i] = where(improving, at.v[i] + step.v[i], at.v[i])
    barrier(team)


@kernel
def add_outer_products(out, a, b, c, d, team):
    """out = a bᵀ + c dᵀ: the gradient of a matrix (14), for one problem of plain floats."""
    for i in range(out.shape[0]):
        for j in range(team.lane, out.shape[1], team.width):
            out[i, j] = a[i] * b[j] + c[i] * d[j]
