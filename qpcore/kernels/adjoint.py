"""The derivative of the answer, transposed: one more solve with the KKT matrix at the answer (13).

The matrix is factored anew from the data and (x, v, y): nothing is kept from the forward pass,
whose last factor belongs to an earlier iterate. Rows with a multiplier act as equalities, the
others not at all; refinement on the unreduced system takes the regularisation out again.
"""

from qpcore.kernels.kkt import (
    add_where,
    factor_kkt,
    multiply_C,
    multiply_kkt,
    regularise,
    solve_kkt,
)
from qpcore.kernels.machine import barrier, kernel, larger, like, team_max, team_sum, where
from qpcore.kernels.presolve import fix_equal_limits
from qpcore.kernels.scaling import from_original, to_original

# Slack per multiplier of a row without multiplier: it does not bind at all.
UNBOUND = 1e30

# A row whose slack per multiplier is below or above these binds fully or not at all. Between them,
# at a degenerate point, it keeps its ratio.
BINDS, FREE = 1e-4, 1e4

# A Newton step at the answer is trusted up to this size, relative to the answer.
SMALL = 1e-2

# Solves with the one factor: the first, and refinements of it.
ROUNDS = 3


@kernel
def differentiate(work, parameters, sizes, team):
    """Turn the cotangents of x, v, y in `residual` into those of the equations, in `at` (13).

    On entry `at` holds the answer, `residual` the cotangents: x̄ in Qx, v̄ in sides[0], ȳ in Ax.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    fix_equal_limits(qp, sizes, team)
    scale_answer(work, sizes, team)
    one = like(1, qp.q[0])
    if team.lane == 0:
        system.soft[0] = one - one
    regularise(system, parameters.rho * one, parameters.delta * one, team)
    weigh_answer(qp, at, system, sizes, team)
    factor_kkt(qp, system, sizes, team)
    sharpen(work, sizes, team)
    clear(at, sizes, team)
    error = like(UNBOUND, qp.q[0])
    improving = error > 0
    for _ in range(ROUNDS):
        news = aim(work, sizes, team)
        improving = improving & (news + news < error)
        error = news
        solve_kkt(qp, system, fix, sizes, team)
        add_where(improving, at, fix, sizes, team)
    to_original(at, scale, one / scale.cost[0], sizes, team)


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
def weigh_answer(qp, at, system, sizes, team):
    """T = slack / |v| of each row, kept in `damp`, and weight = 1 / (T + δ) (13)."""
    multiply_C(at.Cx, qp, at.x, team)
    one, delta = like(1, qp.q[0]), system.delta[0]
    for i in range(team.lane, sizes.rows, team.width):
        T = compliance(qp, i, at.v[i], at.Cx[i])
        system.damp[i] = T
        system.weight[i] = one / (T + delta)
    barrier(team)


@kernel(inline=True)
def slack_of(qp, i, v, Cx):
    """How far a row is from the limit that its multiplier belongs to."""
    return where(v > 0, qp.limit[0, i] - Cx, Cx - qp.limit[1, i])


@kernel(inline=True)
def compliance(qp, i, v, Cx):
    """T = slack / |v|; zero for an equality."""
    zero, unbound = like(0, v), like(UNBOUND, v)
    T = where(abs(v) > 0, larger(zero, slack_of(qp, i, v, Cx)) / abs(v), unbound)
    T = where(unbound > T, T, unbound)
    return where(qp.fixed[i] > 0, zero, T)


@kernel
def sharpen(work, sizes, team):
    """Tell binding rows from free ones by where one more Newton step would lead (13).

    At the tolerance's edge a row may have slack and multiplier of similar size. The step, with the
    factor at hand, makes one of them vanish; refinement makes up for the change of T. Where the
    step is not small, as at solutions that are not unique, T stays as it is.
    """
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
    n, zero, one = sizes.n, like(0, qp.q[0]), like(1, qp.q[0])
    unbound = like(UNBOUND, zero)
    multiply_kkt(system.right, work, at, sizes, team)
    for j in range(team.lane, n, team.width):
        system.right[j] = -qp.q[j] - system.right[j]
    for i in range(team.lane, sizes.p, team.width):
        system.right[n + i] = qp.b[i] - system.right[n + i]
    for i in range(team.lane, sizes.rows, team.width):
        slack = slack_of(qp, i, at.v[i], at.Cx[i])
        gap = where(at.v[i] > 0, slack, -slack)
        gap = where(qp.fixed[i] > 0, qp.limit[0, i] - at.Cx[i], gap)
        system.push[i] = -system.weight[i] * gap
    barrier(team)
    solve_kkt(qp, system, fix, sizes, team)
    small = is_small(fix, at, sizes, team)
    for i in range(team.lane, sizes.rows, team.width):
        v, T = at.v[i], system.damp[i]
        v_next = where(v > 0, larger(zero, v + fix.v[i]), -larger(zero, -v - fix.v[i]))
        ahead = compliance(qp, i, v_next, at.Cx[i] + fix.Cx[i])
        T = where(small & (abs(v) > 0), ahead, T)
        T = where(like(FREE, T) < T, unbound, T)
        T = where(like(BINDS, T) > T, zero, T)
        system.damp[i] = T
        # The factor keeps the old weights. Refinement converges if rows that bind keep theirs too,
        # and rows that are free give theirs up.
        system.weight[i] = where(T * system.weight[i] > one, one / T, system.weight[i])
    barrier(team)


@kernel
def is_small(fix, at, sizes, team):
    """Whether a correction is small beside the point that it corrects."""
    zero = like(0, at.x[0])
    x, dx, v, dv = zero, zero, zero, zero
    for j in range(team.lane, sizes.n, team.width):
        x, dx = larger(x, abs(at.x[j])), dx + abs(fix.x[j])
    for i in range(team.lane, sizes.rows, team.width):
        v, dv = larger(v, abs(at.v[i])), dv + abs(fix.v[i])
    x, dx, v, dv = team_max(x, team), team_sum(dx, team), team_max(v, team), team_sum(dv, team)
    most = like(SMALL, x)
    return (dx <= most + most * x) & (dv <= most + most * v)


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
    qp, scale, at, best, residual, step, fix, system, products, outcome = work
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
def add_outer_products(out, a, b, c, d, k):
    """out[k] = a bᵀ + c dᵀ: the gradient of a matrix (14) in problem k, of plain floats.

    Loops by a team's width are not vectorised, which took six times as long; hence no team.
    """
    for i in range(out.shape[1]):
        ai, ci = a[k, i], c[k, i]
        for j in range(out.shape[2]):
            out[k, i, j] = ai * b[k, j] + ci * d[k, j]
