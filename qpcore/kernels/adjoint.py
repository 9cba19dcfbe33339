"""The derivative of the answer, transposed: one more solve with the KKT matrix at the answer (13).

The matrix is factored anew from the data and (x, v, y): nothing is kept from the forward pass,
whose last factor belongs to an earlier iterate. Rows with a multiplier act as equalities, the
others not at all; refinement on the unreduced system takes the regularisation out again.
"""

from qpcore.kernels.kkt import add_where, factor_kkt, multiply_C, multiply_kkt, solve_kkt
from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, where
from qpcore.kernels.presolve import fix_equal_limits
from qpcore.kernels.scaling import from_original, to_original

# Slack per multiplier of a row without multiplier: it does not bind at all.
UNBOUND = 1e30

# A row whose slack per multiplier is below or above these binds fully or not at all. Between them,
# at a degenerate point, it keeps its ratio.
BINDS, FREE = 1e-4, 1e4

# Solves with the one factor: the first, and refinements of it.
ROUNDS = 3


@kernel
def differentiate(work, parameters, sizes, team):
    """Turn the cotangents of x, v, y in `residual` into those of the equations, in `at` (13).

    On entry `at` holds the answer, `residual` the cotangents: x̄ in Qx, v̄ in sides[0], ȳ in Ax.
    """
    qp, scale, at, residual, step, fix, system, products, outcome = work
    fix_equal_limits(qp, sizes, team)
    scale_answer(work, sizes, team)
    weigh_answer(qp, at, system, parameters.delta, sizes, team)
    factor_kkt(qp, system, parameters, sizes, team)
    clear(at, sizes, team)
    error = like(UNBOUND, qp.q[0])
    improving = error > 0
    for _ in range(ROUNDS):
        news = aim(work, sizes, team)
        improving = improving & (news + news < error)
        error = news
        solve_kkt(qp, system, fix, sizes, team)
        add_where(improving, at, fix, sizes, team)
    to_original(at, scale, sizes, team)


@kernel
def scale_answer(work, sizes, team):
    """Bring the answer and the cotangents to the scale of the matrices (15)."""
    qp, scale, at, residual, step, fix, system, products, outcome = work
    from_original(at, scale, sizes, team)
    for j in range(team.lane, sizes.n, team.width):
        residual.Qx[j] *= scale.x[j] * scale.cost[0]
    for i in range(team.lane, sizes.rows, team.width):
        residual.sides[0, i] *= scale.rows[i]
    for i in range(team.lane, sizes.p, team.width):
        residual.Ax[i] *= scale.y[i]
    barrier(team)


@kernel
def weigh_answer(qp, at, system, delta, sizes, team):
    """T = slack / |v| of each row, kept in `damp`, and weight = 1 / (T + δ) (13)."""
    multiply_C(at.Cx, qp, at.x, team)
    zero, one, unbound = like(0, qp.q[0]), like(1, qp.q[0]), like(UNBOUND, qp.q[0])
    for i in range(team.lane, sizes.rows, team.width):
        v, Cx = at.v[i], at.Cx[i]
        slack = where(v > 0, qp.limit[0, i] - Cx, Cx - qp.limit[1, i])
        T = where(abs(v) > 0, larger(zero, slack) / abs(v), unbound)
        T = where(like(FREE, T) < T, unbound, T)
        T = where(like(BINDS, T) > T, zero, T)
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
        at.Cx[i] = zero
    barrier(team)


@kernel
def aim(work, sizes, team):
    """Right-hand sides that take the residual of (13) away; its size is returned."""
    qp, scale, at, residual, step, fix, system, products, outcome = work
    n = sizes.n
    multiply_kkt(system.right, work, at, sizes, team)
    error = like(0, qp.q[0])
    one = like(1, error)
    for j in range(team.lane, n, team.width):
        system.right[j] = -residual.Qx[j] - system.right[j]
        error = larger(error, abs(system.right[j]))
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = -residual.Ax[i] - system.right[n + i]
        error = larger(error, abs(system.right[n + i]))
    for i in range(team.lane, sizes.rows, team.width):
        T = system.damp[i]
        r = T * at.v[i] - at.Cx[i] - residual.sides[0, i]
        system.push[i] = -system.weight[i] * r
        error = larger(error, abs(r) / (one + T))
    barrier(team)
    return team_max(error, team)


@kernel
def add_outer_products(out, a, b, c, d, team):
    """out = a bᵀ + c dᵀ: the gradient of a matrix (14), for one problem of plain floats."""
    for i in range(out.shape[0]):
        for j in range(team.lane, out.shape[1], team.width):
            out[i, j] = a[i] * b[j] + c[i] * d[j]
