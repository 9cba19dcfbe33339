"""The factor, triangular solves, products and norms, by whoever works on a problem.

One lane, a CPU's thread, keeps sums in registers (`factor.py`, `linalg.py`); many lanes, a block of
a GPU, share every sum (`company.py`). Arguments and results are the same.
"""

from numba.extending import overload

from qpcore.kernels import company, linalg
from qpcore.kernels import factor as single
from qpcore.kernels.machine import Solo


def factor(K, diagonal, Gt, rows, weight, size, coupled, floor, team):
    """Factor K[:size, :size] + Gᵀ W G = L S Lᵀ (9); see `factor.factor`."""
    chosen = single.factor if type(team) is Solo else company.factor
    chosen(K, diagonal, Gt, rows, weight, size, coupled, floor, team)


@overload(factor)
def _factor(K, diagonal, Gt, rows, weight, size, coupled, floor, team):
    chosen = single.factor if team.instance_class is Solo else company.factor
    return lambda K, diagonal, Gt, rows, weight, size, coupled, floor, team: chosen(
        K, diagonal, Gt, rows, weight, size, coupled, floor, team
    )


def solve_factored(K, diagonal, n, coupled, v, team):
    """Solve L S Lᵀ u = v in place (10)."""
    chosen = linalg if type(team) is Solo else company
    chosen.solve_factored(K, diagonal, n, coupled, v, team)


@overload(solve_factored)
def _solve_factored(K, diagonal, n, coupled, v, team):
    chosen = (linalg if team.instance_class is Solo else company).solve_factored
    return lambda K, diagonal, n, coupled, v, team: chosen(K, diagonal, n, coupled, v, team)


def multiply(out, M, v, team):
    """out = M v."""
    (linalg if type(team) is Solo else company).multiply(out, M, v, team)


@overload(multiply)
def _multiply(out, M, v, team):
    chosen = (linalg if team.instance_class is Solo else company).multiply
    return lambda out, M, v, team: chosen(out, M, v, team)


def multiply_transposed(out, M, u, team):
    """out = Mᵀ u."""
    (linalg if type(team) is Solo else company).multiply_transposed(out, M, u, team)


@overload(multiply_transposed)
def _multiply_transposed(out, M, u, team):
    chosen = (linalg if team.instance_class is Solo else company).multiply_transposed
    return lambda out, M, u, team: chosen(out, M, u, team)


def multiply_symmetric(out, K, diagonal, coupled, v, team):
    """out = Q v: Q's diagonal given, and if `coupled` its strict upper triangle in that of K."""
    chosen = linalg if type(team) is Solo else company
    chosen.multiply_symmetric(out, K, diagonal, coupled, v, team)


@overload(multiply_symmetric)
def _multiply_symmetric(out, K, diagonal, coupled, v, team):
    chosen = (linalg if team.instance_class is Solo else company).multiply_symmetric
    return lambda out, K, diagonal, coupled, v, team: chosen(out, K, diagonal, coupled, v, team)


def largest_entries(qp, norms, team):
    """Largest entry of each row of the KKT matrix, in per_x, per_y and per_rows (15)."""
    (linalg if type(team) is Solo else company).largest_entries(qp, norms, team)


@overload(largest_entries)
def _largest_entries(qp, norms, team):
    chosen = (linalg if team.instance_class is Solo else company).largest_entries
    return lambda qp, norms, team: chosen(qp, norms, team)
