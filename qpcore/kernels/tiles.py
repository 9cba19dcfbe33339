"""Tiles: four by four sums in registers, of products of rows of a matrix.

There are two ways to run along the rows. The plain one takes an element of each at a time: on a CPU
that is a pack of problems, on a GPU a thread's number. Where a CPU works on one problem of floats,
lanes are neighbours in a row: eight partial sums for each entry of the tile, added up at the end.
"""

from numba.extending import overload

from qpcore.kernels.machine import kernel, like
from qpcore.kernels.neighbours import (
    lanes_along,
    pack_of_vector,
    rest_of_vector,
    sum_lanes_of_tile,
    zeros_along,
)
from qpcore.kernels.rows import column, negated, packs_of, plus, rests_of, runs_along


@kernel(inline=True)
def scaled(v, factor):
    """A four-vector times a number."""
    return v[0] * factor, v[1] * factor, v[2] * factor, v[3] * factor


@kernel(inline=True)
def minus(v, x, y):
    """v - x y for a four-vector y."""
    return v[0] - x * y[0], v[1] - x * y[1], v[2] - x * y[2], v[3] - x * y[3]


@kernel(inline=True)
def add_outer(tile, x, y):
    """Tile + x yᵀ."""
    return (
        plus(tile[0], x[0], y),
        plus(tile[1], x[1], y),
        plus(tile[2], x[2], y),
        plus(tile[3], x[3], y),
    )


@kernel(inline=True)
def subtract_outer(tile, x, y):
    """Tile - x yᵀ."""
    return (
        minus(tile[0], x[0], y),
        minus(tile[1], x[1], y),
        minus(tile[2], x[2], y),
        minus(tile[3], x[3], y),
    )


@kernel(inline=True)
def negated_tile(tile):
    """-tile."""
    return negated(tile[0]), negated(tile[1]), negated(tile[2]), negated(tile[3])


# ---- an element at a time ------------------------------------------------------------------------


@kernel(inline=True)
def add_gram_plain(tile, Gt, start, rows, weight, i, j):
    """Tile + Gᵀ W G at rows i and columns j, from the rows start..rows of G."""
    for k in range(start, rows):
        tile = add_outer(tile, scaled(column(Gt, i, k), weight[k]), column(Gt, j, k))
    return tile


@kernel(inline=True)
def subtract_products_plain(tile, K, start, stop, i, j):
    """Tile - K[i, start:stop] K[j, start:stop]ᵀ."""
    for k in range(start, stop):
        tile = subtract_outer(tile, column(K, i, k), column(K, j, k))
    return tile


# ---- lanes along the rows ------------------------------------------------------------------------


@kernel(inline=True)
def zero_tile(M):
    """A tile of packs of zeros."""
    zero = zeros_along(M)
    row = (zero, zero, zero, zero)
    return row, row, row, row


@kernel(inline=True)
def add_tile_of_sums(tile, packs):
    """Tile + the sums of a tile of packs."""
    sums, one = sum_lanes_of_tile(packs), like(1, tile[0][0])
    return (
        plus(tile[0], one, sums[0]),
        plus(tile[1], one, sums[1]),
        plus(tile[2], one, sums[2]),
        plus(tile[3], one, sums[3]),
    )


@kernel(inline=True)
def gram_along(Gt, rows, weight, i, j):
    """Gᵀ W G, lanes along the rows of Gᵀ: a tile of packs to be summed."""
    step, total, k = lanes_along(Gt), zero_tile(Gt), 0
    while k + step <= rows:
        left = scaled(packs_of(Gt, i, k), pack_of_vector(weight, k))
        total = add_outer(total, left, packs_of(Gt, j, k))
        k += step
    if k < rows:
        left = scaled(rests_of(Gt, i, k, rows), rest_of_vector(weight, k, rows))
        total = add_outer(total, left, rests_of(Gt, j, k, rows))
    return total


@kernel(inline=True)
def products_along(K, start, stop, i, j):
    """-K[i, start:stop] K[j, start:stop]ᵀ, lanes along the rows: a tile of packs to be summed."""
    step, total, k = lanes_along(K), zero_tile(K), start
    while k + step <= stop:
        total = subtract_outer(total, packs_of(K, i, k), packs_of(K, j, k))
        k += step
    if k < stop:
        total = subtract_outer(total, rests_of(K, i, k, stop), rests_of(K, j, k, stop))
    return total


# ---- which of the two ----------------------------------------------------------------------------


def add_gram(tile, Gt, rows, weight, i, j, team):
    """Tile + Gᵀ W G at rows i and columns j, from the first `rows` rows of G."""
    return add_gram_plain(tile, Gt, 0, rows, weight, i, j)


@overload(add_gram)
def _add_gram(tile, Gt, rows, weight, i, j, team):
    if runs_along(Gt, team):
        return lambda tile, Gt, rows, weight, i, j, team: add_tile_of_sums(
            tile, gram_along(Gt, rows, weight, i, j)
        )
    return lambda tile, Gt, rows, weight, i, j, team: add_gram_plain(
        tile, Gt, 0, rows, weight, i, j
    )


def subtract_products(tile, K, start, stop, i, j, team):
    """Tile - K[i, start:stop] K[j, start:stop]ᵀ."""
    return subtract_products_plain(tile, K, start, stop, i, j)


@overload(subtract_products)
def _subtract_products(tile, K, start, stop, i, j, team):
    if runs_along(K, team):
        return lambda tile, K, start, stop, i, j, team: add_tile_of_sums(
            tile, products_along(K, start, stop, i, j)
        )
    return lambda tile, K, start, stop, i, j, team: subtract_products_plain(
        tile, K, start, stop, i, j
    )
