"""The factor with more rows below it, and what these come to: L, N and R of the dual form (19)."""

from qpcore.kernels.factor import PANEL, diagonal_tile, tile_below, tile_rows
from qpcore.kernels.machine import kernel, like
from qpcore.kernels.quads import done_product
from qpcore.kernels.rows import TILE, four
from qpcore.kernels.tiles import negated_tile, subtract_products


@kernel
def factor_with_rows(K, diagonal, Gt, weight, size, floor, team):
    """Factor K[:size, :size] = L S Lᵀ (9), and divide by it what lies to the right of it.

    N = K[:size, size:]ᵀ L⁻ᵀ S goes into the rows below. `diagonal` and `floor` are as in `factor`.
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
                tile_below(K, diagonal, Gt, 0, weight, begin, end, start, stop, start, team)
            if other < last:
                diagonal_tile(K, diagonal, Gt, 0, weight, begin, end, begin, floor, team)
        for begin in range(size, K.shape[0], TILE):
            end = min(begin + TILE, K.shape[0])
            for block in range(first, last):
                start, stop = tile_rows(block, upper_blocks, n, size)
                tile_below(K, diagonal, Gt, 0, weight, begin, end, start, stop, start, team)


@kernel
def multiply_rows(K, diagonal, n, size, team):
    """N S Nᵀ with N = K[size:, :size]: its upper triangle into that of K[size:, size:].

    Its diagonal goes into `diagonal`. S changes sign at n. Below the diagonal only tiles across it
    are written.
    """
    end = K.shape[0]
    zero = like(0, diagonal[0])
    row = (zero, zero, zero, zero)
    for first in range(size, end, PANEL):
        last = min(first + PANEL, end)
        for start in range(size, last, TILE):
            i = four(start, end)
            for begin in range(max(first, start), last, TILE):
                if done_product(K, n, size, start, begin, end, team):
                    continue
                j = four(begin, end)
                t = negated_tile(subtract_products((row, row, row, row), K, 0, n, i, j, team))
                t = subtract_products(t, K, n, size, i, j, team)
                put_tile(K, i, j, t)
                if begin == start:
                    put_diagonal(diagonal, i, size, t)


@kernel(inline=True)
def put_tile(K, i, j, t):
    """Write a tile; beyond the end the last row and column are written again."""
    put_row(K, i[0], j, t[0])
    put_row(K, i[1], j, t[1])
    put_row(K, i[2], j, t[2])
    put_row(K, i[3], j, t[3])


@kernel(inline=True)
def put_row(K, i, j, t):
    """Write four neighbours."""
    K[i, j[0]], K[i, j[1]], K[i, j[2]], K[i, j[3]] = t


@kernel(inline=True)
def put_diagonal(diagonal, i, start, t):
    """Write the diagonal of a tile."""
    diagonal[i[0] - start], diagonal[i[1] - start] = t[0][0], t[1][1]
    diagonal[i[2] - start], diagonal[i[3] - start] = t[2][2], t[3][3]
