"""Four rows of a matrix at a time, and their products with a vector.

There are two ways to run along a row. The plain one takes an element at a time: on a CPU that is a
pack of problems, on a GPU a thread's number. Where a CPU works on one problem of floats, it takes a
pack of neighbours at a time, partial sums that are added up at the end.
"""

from numba.extending import overload

from qpcore.kernels.machine import Solo, kernel, like
from qpcore.kernels.neighbours import (
    lanes_along,
    pack_of_row,
    pack_of_vector,
    put_in_vector,
    rest_of_row,
    sum_lanes,
    zeros_along,
)
from qpcore.kernels.pack import PackType

TILE = 4


def runs_along(matrix, team):
    """Whether one CPU thread works on floats (types of Numba)."""
    return team.instance_class is Solo and not isinstance(matrix.dtype, PackType)


# ---- fours ---------------------------------------------------------------------------------------


@kernel(inline=True)
def four(start, stop):
    """Four indices from start; those beyond the end repeat the last one and are never stored."""
    last = stop - 1
    return start, min(start + 1, last), min(start + 2, last), min(start + 3, last)


@kernel(inline=True)
def column(M, rows, k):
    """Four elements of column k."""
    return M[rows[0], k], M[rows[1], k], M[rows[2], k], M[rows[3], k]


@kernel(inline=True)
def negated(v):
    """The four-vector -v."""
    return -v[0], -v[1], -v[2], -v[3]


@kernel(inline=True)
def plus(v, x, y):
    """v + x y for a four-vector y."""
    return v[0] + x * y[0], v[1] + x * y[1], v[2] + x * y[2], v[3] + x * y[3]


@kernel(inline=True)
def packs_of(M, rows, k):
    """Four rows from column k on, a pack of each."""
    return (
        pack_of_row(M, rows[0], k),
        pack_of_row(M, rows[1], k),
        pack_of_row(M, rows[2], k),
        pack_of_row(M, rows[3], k),
    )


@kernel(inline=True)
def rests_of(M, rows, k, stop):
    """Four rows from column k to stop, where that is less than a pack: with zeros behind."""
    return (
        rest_of_row(M, rows[0], k, stop),
        rest_of_row(M, rows[1], k, stop),
        rest_of_row(M, rows[2], k, stop),
        rest_of_row(M, rows[3], k, stop),
    )


@kernel(inline=True)
def add_sums(v, packs):
    """v + the sums of four packs."""
    return (
        v[0] + sum_lanes(packs[0]),
        v[1] + sum_lanes(packs[1]),
        v[2] + sum_lanes(packs[2]),
        v[3] + sum_lanes(packs[3]),
    )


# ---- four rows times a vector --------------------------------------------------------------------


@kernel(inline=True)
def dot_rows_plain(M, rows, v, start, stop, step):
    """Four sums, an element at a time."""
    zero = like(0, v[0])
    total = (zero, zero, zero, zero)
    for k in range(start, stop, step):
        total = plus(total, v[k], column(M, rows, k))
    return total


@kernel(inline=True)
def dot_rows_along(M, rows, v, start, stop):
    """Four sums, each of a pack of partial ones and what is left beyond it."""
    step, zero, k = lanes_along(M), zeros_along(M), start
    t = (zero, zero, zero, zero)
    while k + step <= stop:
        t = plus(t, pack_of_vector(v, k), packs_of(M, rows, k))
        k += step
    return add_sums(dot_rows_plain(M, rows, v, k, stop, 1), t)


def dot_rows(M, rows, v, start, stop, step, team):
    """Four rows of M times v, over columns start..stop by step: four sums in registers."""
    return dot_rows_plain(M, rows, v, start, stop, step)


@overload(dot_rows)
def _dot_rows(M, rows, v, start, stop, step, team):
    if runs_along(M, team):
        return lambda M, rows, v, start, stop, step, team: dot_rows_along(M, rows, v, start, stop)
    return lambda M, rows, v, start, stop, step, team: dot_rows_plain(M, rows, v, start, stop, step)


@kernel(inline=True)
def add_rows_plain(out, M, rows, u, start, stop, step):
    """Add uᵀ (four rows of M), an element at a time."""
    for k in range(start, stop, step):
        m = column(M, rows, k)
        out[k] += u[0] * m[0] + u[1] * m[1] + u[2] * m[2] + u[3] * m[3]


@kernel(inline=True)
def add_rows_along(out, M, rows, u, start, stop):
    """Add uᵀ (four rows of M), a pack at a time and what is left beyond it."""
    step, k = lanes_along(M), start
    while k + step <= stop:
        m = packs_of(M, rows, k)
        total = m[0] * u[0] + m[1] * u[1] + m[2] * u[2] + m[3] * u[3]
        put_in_vector(out, k, pack_of_vector(out, k) + total)
        k += step
    add_rows_plain(out, M, rows, u, k, stop, 1)


def add_rows(out, M, rows, u, start, stop, step, team):
    """out + uᵀ (four rows of M), over columns start..stop by step."""
    add_rows_plain(out, M, rows, u, start, stop, step)


@overload(add_rows)
def _add_rows(out, M, rows, u, start, stop, step, team):
    if runs_along(M, team):
        return lambda out, M, rows, u, start, stop, step, team: add_rows_along(
            out, M, rows, u, start, stop
        )
    return lambda out, M, rows, u, start, stop, step, team: add_rows_plain(
        out, M, rows, u, start, stop, step
    )
