"""The signed Cholesky factor of the condensed KKT matrix (9), Gram matrix included.

A symmetric matrix of the form [[H, Aᵀ], [A, -D]], with H and D positive definite, has a factor
L S Lᵀ with L lower triangular and S = diag(1, ..., 1, -1, ..., -1). It is made in tiles of four by
four, which never straddle the border between the two parts, so that a tile has one sign.
"""

import math

from qpcore.kernels.machine import kernel, like, where
from qpcore.kernels.quads import done_below, done_given_below
from qpcore.kernels.rows import TILE, column, four, negated
from qpcore.kernels.tiles import add_gram, negated_tile, subtract_products

# The factor goes over so many columns at a time, and within these row by row: then the rows on the
# left are read once for all of them, and those above stay in the cache. With 500 rows and as many
# below it takes 0.95 of the time that it takes with a tile's columns at a time.
PANEL = 32

# ---- the factor ----------------------------------------------------------------------------------


@kernel
def factor(K, diagonal, Gt, rows, weight, size, coupled, floor, team):
    """Factor K[:size, :size] + Gᵀ W G = L S Lᵀ (9), with the first `rows` rows of G.

    Gᵀ W G belongs to the first n = len(Gt) rows of K. Read: the strict upper triangle of K, its
    diagonal in `diagonal`. Written: L into the lower triangle of K, the inverse of its diagonal
    into `diagonal`. The Gram matrix is never stored: each tile is formed and eliminated while it is
    in registers. A pivot below `floor`, which regularisation alone exceeds, is lifted to it.
    Unless `coupled`, Q is diagonal and G has no rows: then so is L in its first n rows, which have
    zeros below the diagonal and keep them.
    """
    n = Gt.shape[0]
    upper_blocks = (n + TILE - 1) // TILE
    blocks = upper_blocks + (size - n + TILE - 1) // TILE
    step = PANEL // TILE
    for first in range(0, blocks, step):
        last = min(first + step, blocks)
        for other in range(first, blocks):
            begin, end = tile_rows(other, upper_blocks, n, size)
            for block in range(first, min(other, last)):
                start, stop = tile_rows(block, upper_blocks, n, size)
                alone = not coupled and block < upper_blocks
                done = 0 if alone else start
                if not alone or other >= upper_blocks:
                    tile_below(K, diagonal, Gt, rows, weight, begin, end, start, stop, done, team)
            if other < last:
                done = begin if coupled or other >= upper_blocks else 0
                diagonal_tile(K, diagonal, Gt, rows, weight, begin, end, done, floor, team)


@kernel(inline=True)
def tile_rows(block, upper_blocks, n, size):
    """First row of a block of four, and the end of the part (H or -D) that it lies in."""
    if block < upper_blocks:
        return TILE * block, n
    return n + TILE * (block - upper_blocks), size


@kernel(inline=True)
def eliminate(tile, K, i, j, positive, done, team):
    """Tile minus what the columns 0..done of the factor already explain, with their signs."""
    tile = subtract_products(tile, K, 0, min(positive, done), i, j, team)
    if done > positive:
        tile = negated_tile(tile)
        tile = negated_tile(subtract_products(tile, K, positive, done, i, j, team))
    return tile


@kernel
def diagonal_tile(K, diagonal, Gt, rows, weight, start, stop, done, floor, team):
    """Factor the tile on the diagonal; its sign is that of its part."""
    n = Gt.shape[0]
    j = four(start, stop)
    d = diagonal
    t = (
        (d[j[0]], K[j[0], j[1]], K[j[0], j[2]], K[j[0], j[3]]),
        (K[j[0], j[1]], d[j[1]], K[j[1], j[2]], K[j[1], j[3]]),
        (K[j[0], j[2]], K[j[1], j[2]], d[j[2]], K[j[2], j[3]]),
        (K[j[0], j[3]], K[j[1], j[3]], K[j[2], j[3]], d[j[3]]),
    )
    if start < n:
        t = add_gram(t, Gt, rows, weight, j, j, team)
    t = eliminate(t, K, j, j, n, done, team)
    if start >= n:  # S = -1: the factor of the negative tile
        t = negated_tile(t)
    store_triangle(K, diagonal, t, j, start, stop, floor)


@kernel(inline=True)
def store_triangle(K, diagonal, t, j, start, stop, floor):
    """Factor a tile, what the columns before it explain taken out, and write its lower triangle."""
    d0 = inverse_root(t[0][0], floor)
    l10, l20, l30 = t[1][0] * d0, t[2][0] * d0, t[3][0] * d0
    d1 = inverse_root(t[1][1] - l10 * l10, floor)
    l21, l31 = (t[2][1] - l20 * l10) * d1, (t[3][1] - l30 * l10) * d1
    d2 = inverse_root(t[2][2] - l20 * l20 - l21 * l21, floor)
    l32 = (t[3][2] - l30 * l20 - l31 * l21) * d2
    d3 = inverse_root(t[3][3] - l30 * l30 - l31 * l31 - l32 * l32, floor)
    diagonal[start] = d0
    if start + 1 < stop:
        diagonal[j[1]] = d1
        K[j[1], j[0]] = l10
    if start + 2 < stop:
        diagonal[j[2]] = d2
        K[j[2], j[0]], K[j[2], j[1]] = l20, l21
    if start + 3 < stop:
        diagonal[j[3]] = d3
        K[j[3], j[0]], K[j[3], j[1]], K[j[3], j[2]] = l30, l31, l32


@kernel(inline=True)
def inverse_root(pivot, floor):
    """1/sqrt(pivot) of a pivot that is at least the floor; NaN stays NaN."""
    return like(1, pivot) / math.sqrt(where(pivot < floor, floor, pivot))


@kernel
def tile_below(K, diagonal, Gt, rows, weight, begin, end, start, stop, done, team):
    """Rows begin.. of the factor at columns start..: eliminate, then divide by the tile above."""
    if done_below(K, diagonal, Gt, rows, weight, begin, end, start, stop, done, team):
        return
    n = Gt.shape[0]
    i, j = four(begin, end), four(start, stop)
    t = (
        column(K, j, i[0]),  # K[i, j] is read where the data lie: above the diagonal
        column(K, j, i[1]),
        column(K, j, i[2]),
        column(K, j, i[3]),
    )
    if begin < n:
        t = add_gram(t, Gt, rows, weight, i, j, team)
    t = eliminate(t, K, i, j, n, done, team)
    store_tile(K, diagonal, t, i, j, begin, end, start, stop, n)


@kernel(inline=True)
def store_tile(K, diagonal, t, i, j, begin, end, start, stop, n):
    """Four rows of L."""
    store_row(K, diagonal, t[0], begin, j, start, stop, n)
    if begin + 1 < end:
        store_row(K, diagonal, t[1], i[1], j, start, stop, n)
    if begin + 2 < end:
        store_row(K, diagonal, t[2], i[2], j, start, stop, n)
    if begin + 3 < end:
        store_row(K, diagonal, t[3], i[3], j, start, stop, n)


@kernel(inline=True)
def store_row(K, diagonal, t, i, j, start, stop, n):
    """One row of L: t divided by the transposed diagonal tile, and by its sign."""
    if start >= n:
        t = negated(t)
    l0 = t[0] * diagonal[j[0]]
    K[i, j[0]] = l0
    if start + 1 < stop:
        l1 = (t[1] - l0 * K[j[1], j[0]]) * diagonal[j[1]]
        K[i, j[1]] = l1
        if start + 2 < stop:
            l2 = (t[2] - l0 * K[j[2], j[0]] - l1 * K[j[2], j[1]]) * diagonal[j[2]]
            K[i, j[2]] = l2
            if start + 3 < stop:
                rest = t[3] - l0 * K[j[3], j[0]] - l1 * K[j[3], j[1]] - l2 * K[j[3], j[2]]
                K[i, j[3]] = rest * diagonal[j[3]]


# ---- given below the diagonal --------------------------------------------------------------------


@kernel
def factor_below(K, diagonal, size, floor, team):
    """Factor a positive definite K[:size, :size] = L Lᵀ, given by its lower triangle, in place.

    `diagonal` and `floor` are as in `factor`. Only for a team of one.
    """
    for first in range(0, size, PANEL):
        last = min(first + PANEL, size)
        for begin in range(first, size, TILE):
            i = four(begin, size)
            for start in range(first, min(begin, last), TILE):
                if not done_given_below(K, diagonal, begin, start, size, team):
                    j = four(start, size)
                    t = tile_of(K, i, j)
                    t = subtract_products(t, K, 0, start, i, j, team)
                    store_tile(K, diagonal, t, i, j, begin, size, start, size, size)
            if begin < last:
                d = diagonal
                t = (
                    (d[i[0]], K[i[1], i[0]], K[i[2], i[0]], K[i[3], i[0]]),
                    (K[i[1], i[0]], d[i[1]], K[i[2], i[1]], K[i[3], i[1]]),
                    (K[i[2], i[0]], K[i[2], i[1]], d[i[2]], K[i[3], i[2]]),
                    (K[i[3], i[0]], K[i[3], i[1]], K[i[3], i[2]], d[i[3]]),
                )
                t = subtract_products(t, K, 0, begin, i, i, team)
                store_triangle(K, diagonal, t, i, begin, size, floor)


@kernel(inline=True)
def tile_of(K, i, j):
    """Rows i, columns j."""
    return row_of(K, i[0], j), row_of(K, i[1], j), row_of(K, i[2], j), row_of(K, i[3], j)


@kernel(inline=True)
def row_of(K, i, j):
    """Four elements of row i."""
    return K[i, j[0]], K[i, j[1]], K[i, j[2]], K[i, j[3]]
