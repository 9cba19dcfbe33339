"""The linear system at the answer (13), factored and solved in the form that the workspace has.

Condensed (`kkt.py`), all rows go into the matrix of the variables, which is factored anew for every
answer. In the dual form (19) what does not depend on the answer is factored already; what is left
is a factor of the rows that bind.
"""

from numba.extending import overload

from qpcore.kernels import kkt
from qpcore.kernels.activity import UNBOUND
from qpcore.kernels.binding import factor_binding, lined_up
from qpcore.kernels.dense import solve_factored
from qpcore.kernels.kkt import multiply_C, multiply_C_transposed
from qpcore.kernels.linalg import gather, scatter, solve_lower, solve_upper
from qpcore.kernels.machine import kernel, larger, like, where
from qpcore.kernels.rows import TILE, add_rows, dot_rows, four, negated, plus

# What is so little beside the right-hand side is lost in its rounding errors, far below.
NOTHING = 1e-25


def factor_system(qp, system, sizes, team):
    """Factor the matrix of (13) with the T of `damp`, which `weight` belongs to."""
    kkt.factor_kkt(qp, system, sizes, team)


def solve_system(qp, system, out, sizes, team):
    """Solve for x, y, Cx and v in `out`, given `right` = [rx; ry] and `push` (8)."""
    kkt.solve_kkt(qp, system, out, sizes, team)


@overload(factor_system)
def _factor_system(qp, system, sizes, team):
    chosen = factor_dual if in_dual_form(system) else kkt.factor_kkt
    return lambda qp, system, sizes, team: chosen(qp, system, sizes, team)


@overload(solve_system)
def _solve_system(qp, system, out, sizes, team):
    chosen = solve_dual if in_dual_form(system) else kkt.solve_kkt
    return lambda qp, system, out, sizes, team: chosen(qp, system, out, sizes, team)


def in_dual_form(system):
    """Whether a System, a type of Numba's, has a Dual."""
    return len(system.types[system.fields.index("dual")]) > 0


# ---- in the dual form, one problem of floats -----------------------------------------------------


@kernel
def factor_dual(qp, system, sizes, team):
    """Factor R + diag(T) + δ I in the rows that are not free."""
    dual, delta, zero = system.dual, system.delta[0], like(0, system.delta[0])
    for k in range(sizes.m):
        T = system.damp[k]
        free = like(UNBOUND, zero) == T
        dual.side[k] = where(free, zero, like(1, zero))
        dual.pull[k] = dual.curvature[k] + where(free, zero, T) + delta
    factor_binding(qp, dual, delta, sizes, team)


@kernel
def solve_dual(qp, system, out, sizes, team):
    """Eliminate x and y, solve for the rows that are not free, and put their multipliers in (19).

    With K = L S Lᵀ of Q and A, r = [rx; ry] less what free rows pull, and N = [G 0] L⁻ᵀ S in the
    rows that are not free: (R + T + δ) v = N L⁻¹ r - e, and [x; y] = L⁻ᵀ S (L⁻¹ r - S Nᵀ v).
    """
    dual, right = system.dual, system.right
    v = dual.beside[: lined_up(dual.order)]
    take_from_free_rows(qp, system, out, sizes, team)
    for i in range(len(v)):
        k = int(dual.order[i])
        v[i] = system.push[k] / system.weight[k]
    solve_bordered(qp, dual, right, v, like(0, v[0]), sizes, team)
    for j in range(sizes.n):
        out.x[j] = right[j]
    for i in range(sizes.p):
        out.y[i] = right[sizes.n + i]
    for i in range(len(v)):
        out.v[int(dual.order[i])] = v[i]
    multiply_C(out.Cx, qp, out.x, team)


@kernel
def solve_bordered(qp, dual, right, v, soft, sizes, team):
    """[x; y] in `right` and multipliers in `v`, where r and -e were; `v` as rows are lined up.

    What is `soft` of R's diagonal is taken out again.
    """
    n, size, most = sizes.n, sizes.n + sizes.p, len(v)
    N, R, below = qp.K[size:, :size], qp.K[size:, size:], dual.diagonal[size:]
    solve_lower(qp.K, dual.diagonal, 0, right, team)
    for start in range(0, most, TILE):
        i = four(start, most)
        products = dot_rows(N, rows_at(dual.order, i), right, 0, size, 1, team)
        scatter(v, start, most, plus(products, like(1, soft), gather(v, i, start, most)))
    solve_factored(R, below, most, True, v, team)
    if soft > 0:
        rest = dual.right[:most]
        for i in range(most):
            rest[i] = soft * v[i]
        solve_factored(R, below, most, True, rest, team)
        for i in range(most):
            v[i] += rest[i]
    for i in range(n, size):
        right[i] = -right[i]
    for start in range(0, most, TILE):
        i = four(start, most)
        pulls = negated(gather(v, i, start, most))
        add_rows(right, N, rows_at(dual.order, i), pulls, 0, size, 1, team)
    solve_upper(qp.K, dual.diagonal, 0, right, team)


@kernel
def take_from_free_rows(qp, system, out, sizes, team):
    """Multipliers of free rows, which `push` gives, and what they take from the right-hand side.

    As a rule they are nothing beside it.
    """
    side, right, zero = system.dual.side, system.right, like(0, system.right[0])
    largest, pull = zero, zero
    for j in range(sizes.n):
        largest = larger(largest, abs(right[j]))
    for k in range(sizes.m):
        out.v[k] = where(side[k] == zero, system.push[k], zero)
        pull = larger(pull, abs(out.v[k]))
    if pull > like(NOTHING, zero) * largest:
        multiply_C_transposed(out.x, qp, out.v, team)
        for j in range(sizes.n):
            right[j] -= out.x[j]


@kernel(inline=True)
def rows_at(order, i):
    """Which rows stand at four places."""
    return int(order[i[0]]), int(order[i[1]]), int(order[i[2]]), int(order[i[3]])
