"""Sums of outer products in the lower triangle of a matrix, by a team of many lanes.

A lane adds up the lower triangle of a tile of four by four, ten sums, from eight numbers at a time.
The rows of a tile lie a quarter of the matrix apart, not side by side: so neighbouring lanes read
neighbouring rows, which lie in different banks of memory.
"""

import numpy as np

from qpcore.kernels.machine import barrier, kernel, like
from qpcore.kernels.rows import TILE

# The innermost loops count in the width of an address and without a sign, which lets a GPU move
# along the rows: 26 instructions an element of the Gram matrix's eight rows, by `range` 45.
ONE = np.uint64(1)


@kernel
def assemble(K, diagonal, Gt, rows, weight, size, coupled, team):
    """Bring K + Gᵀ W G from the upper triangle to the lower one; its diagonal is in `diagonal`."""
    n = Gt.shape[0]
    for i in range(0 if coupled else n, size):
        for j in range(team.lane, i, team.width):
            K[i, j] = K[j, i]
    barrier(team)
    if rows > 0:
        row, first, height, width = grid_of(team)
        quarter = (n + TILE - 1) // TILE
        for a in range(row, quarter, height):
            for b in range(first, quarter, width):
                i, j, t = spread(a, quarter, n), spread(b, quarter, n), nothing_yet(weight)
                left, right = rows_of(Gt, i), rows_of(Gt, j)
                k, end = np.uint64(0), np.uint64(rows)
                while k < end:
                    x, w = across(left, k), weight[k]
                    t = add_lower(t, (x[0] * w, x[1] * w, x[2] * w, x[3] * w), across(right, k))
                    k += ONE
                add_to_lower(K, diagonal, t, 0, a, b, quarter, n)
        barrier(team)


@kernel
def explain(K, diagonal, start, stop, below, size, negative, team):
    """Subtract what the columns start..stop of L explain of the rows from `below` on."""
    row, first, height, width = grid_of(team)
    quarter = (size - below + TILE - 1) // TILE
    for a in range(row, quarter, height):
        for b in range(first, quarter, width):
            i, j = spread(below + a, quarter, size), spread(below + b, quarter, size)
            left, right, t = rows_of(K, i), rows_of(K, j), nothing_yet(diagonal)
            k, end = np.uint64(start), np.uint64(stop)
            while k < end:
                t = add_lower(t, across(left, k), across(right, k))
                k += ONE
            if not negative:
                t = minus(t)
            add_to_lower(K, diagonal, t, below, a, b, quarter, size)


@kernel(inline=True)
def grid_of(team):
    """The lanes as a grid: row and column of this one, rows and columns of all.

    Neighbours have neighbouring columns, whose rows of K and Gt lie in different banks of memory.
    """
    bits = 4 if team.width >= 128 else 3 if team.width >= 32 else 0
    row = team.lane >> bits
    return row, team.lane - (row << bits), team.width >> bits, 1 << bits


@kernel(inline=True)
def spread(first, quarter, count):
    """Four indices, a quarter of all apart; those beyond the end repeat the last one."""
    last = count - 1
    return (
        first,
        min(first + quarter, last),
        min(first + 2 * quarter, last),
        min(first + 3 * quarter, last),
    )


@kernel(inline=True)
def rows_of(M, index):
    """Four rows of a matrix.

    With rows at hand a loop over columns computes one address an element; with pairs of indices,
    which might count from the end, half of its instructions were about that.
    """
    return M[index[0]], M[index[1]], M[index[2]], M[index[3]]


@kernel(inline=True)
def across(rows, k):
    """Four elements of column k."""
    return rows[0][k], rows[1][k], rows[2][k], rows[3][k]


@kernel(inline=True)
def minus(t):
    """Ten sums, negated."""
    return -t[0], -t[1], -t[2], -t[3], -t[4], -t[5], -t[6], -t[7], -t[8], -t[9]


@kernel(inline=True)
def nothing_yet(numbers):
    """Ten sums: the lower triangle of a tile, row by row."""
    zero = like(0, numbers[0])
    return zero, zero, zero, zero, zero, zero, zero, zero, zero, zero


@kernel(inline=True)
def add_lower(t, x, y):
    """Ten sums + the lower triangle of x yᵀ."""
    return (
        t[0] + x[0] * y[0],
        t[1] + x[1] * y[0],
        t[2] + x[1] * y[1],
        t[3] + x[2] * y[0],
        t[4] + x[2] * y[1],
        t[5] + x[2] * y[2],
        t[6] + x[3] * y[0],
        t[7] + x[3] * y[1],
        t[8] + x[3] * y[2],
        t[9] + x[3] * y[3],
    )


@kernel(inline=True)
def add_to_lower(K, diagonal, t, shift, a, b, quarter, size):
    """Add ten sums to rows and columns of K, from `shift` on, a quarter of them apart.

    Tiles that touch the diagonal of the matrix with their own have sums of the upper triangle too.
    """
    i, j, q = shift + a, shift + b, quarter
    add_element(K, diagonal, i, j, t[0], size)
    add_element(K, diagonal, i + q, j, t[1], size)
    add_element(K, diagonal, i + q, j + q, t[2], size)
    add_element(K, diagonal, i + 2 * q, j, t[3], size)
    add_element(K, diagonal, i + 2 * q, j + q, t[4], size)
    add_element(K, diagonal, i + 2 * q, j + 2 * q, t[5], size)
    add_element(K, diagonal, i + 3 * q, j, t[6], size)
    add_element(K, diagonal, i + 3 * q, j + q, t[7], size)
    add_element(K, diagonal, i + 3 * q, j + 2 * q, t[8], size)
    add_element(K, diagonal, i + 3 * q, j + 3 * q, t[9], size)


@kernel(inline=True)
def add_element(K, diagonal, i, j, number, size):
    """Add to one element, unless it is beyond the end or above the diagonal."""
    if i < size:
        if i > j:
            K[i, j] += number
        elif i == j:
            diagonal[i] += number
