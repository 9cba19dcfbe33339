"""Whole tiles of one problem of floats, four neighbours in a column as one vector.

A tile is read, divided by the one on the diagonal and written in vectors, not number by number: a
factor with 500 rows and as many below takes 0.88 of the time, one of 250 rows 0.84.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from qpcore.kernels.machine import kernel
from qpcore.kernels.neighbours import halves_added, place_of_row
from qpcore.kernels.pack import QUADS
from qpcore.kernels.rows import TILE, runs_along
from qpcore.kernels.tiles import gram_along, products_along

# ---- four neighbours -----------------------------------------------------------------------------


@intrinsic
def quad_of_row(typing_context, matrix, i, k):
    """Return four entries of row i of a float matrix from column k on."""
    quad = QUADS[matrix.dtype]

    def codegen(context, builder, sig, args):
        pointer = place_of_row(context, builder, sig, args, quad)
        return builder.load(pointer, align=matrix.dtype.bitwidth // 8)

    return quad(matrix, i, k), codegen


@intrinsic
def put_quad_in_row(typing_context, matrix, i, k, quad):
    """Write four entries of row i of a float matrix from column k on."""

    def codegen(context, builder, sig, args):
        pointer = place_of_row(context, builder, sig, args, quad)
        builder.store(args[3], pointer, align=matrix.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(matrix, i, k, quad), codegen


@intrinsic
def sums_of_columns(typing_context, tile):
    """Return the sums of the lanes of four by four packs, four of a column side by side."""
    quad = QUADS[tile[0][0].dtype]

    def codegen(context, builder, sig, args):
        rows = [cgutils.unpack_tuple(builder, r) for r in cgutils.unpack_tuple(builder, args[0])]
        left = halves_added(builder, [row[column] for column in range(4) for row in rows])
        kind = ir.VectorType(ir.IntType(32), 4)
        parts = [
            builder.shuffle_vector(v, v, ir.Constant(kind, list(range(k, k + 4))))
            for v in left
            for k in range(0, v.type.count, 4)
        ]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(quad, 4)(tile), codegen


@intrinsic
def transposed(typing_context, quads):
    """Return rows of the tile whose columns these are, and the other way round."""

    def codegen(context, builder, sig, args):
        def mixed(a, b, places):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), 4), places)
            return builder.shuffle_vector(a, b, mask)

        a, b, c, d = cgutils.unpack_tuple(builder, args[0])
        even, odd = [0, 4, 2, 6], [1, 5, 3, 7]
        pairs = [(mixed(a, b, places), mixed(c, d, places)) for places in (even, odd)]
        found = [mixed(*pair, places) for places in ([0, 1, 4, 5], [2, 3, 6, 7]) for pair in pairs]
        return context.make_tuple(builder, sig.return_type, found)

    return quads(quads), codegen


# ---- tiles ---------------------------------------------------------------------------------------


@kernel(inline=True)
def quads_of(K, i, k):
    """Four rows from i on, each from column k on."""
    return (
        quad_of_row(K, i, k),
        quad_of_row(K, i + 1, k),
        quad_of_row(K, i + 2, k),
        quad_of_row(K, i + 3, k),
    )


@kernel(inline=True)
def put_quads(K, i, k, t):
    """Write them."""
    put_quad_in_row(K, i, k, t[0])
    put_quad_in_row(K, i + 1, k, t[1])
    put_quad_in_row(K, i + 2, k, t[2])
    put_quad_in_row(K, i + 3, k, t[3])


@kernel(inline=True)
def added(t, u):
    """The sum of two tiles."""
    return t[0] + u[0], t[1] + u[1], t[2] + u[2], t[3] + u[3]


@kernel(inline=True)
def opposite(t):
    """-t."""
    return -t[0], -t[1], -t[2], -t[3]


@kernel(inline=True)
def from_(start):
    """Four indices."""
    return start, start + 1, start + 2, start + 3


@kernel(inline=True)
def put_divided(K, diagonal, t, begin, start):
    """Divide columns by the transposed tile on the diagonal, and write them: four rows of L."""
    a, b, c, d = from_(start)
    l0 = t[0] * diagonal[a]
    l1 = (t[1] - l0 * K[b, a]) * diagonal[b]
    l2 = (t[2] - l0 * K[c, a] - l1 * K[c, b]) * diagonal[c]
    l3 = (t[3] - l0 * K[d, a] - l1 * K[d, b] - l2 * K[d, c]) * diagonal[d]
    put_quads(K, begin, start, transposed((l0, l1, l2, l3)))


@kernel(inline=True)
def whole_below(K, diagonal, Gt, rows, weight, begin, start, done):
    """`factor.tile_below` of a whole tile."""
    n, i, j = Gt.shape[0], from_(begin), from_(start)
    t = quads_of(K, start, begin)
    if begin < n and rows > 0:
        t = added(t, sums_of_columns(gram_along(Gt, rows, weight, i, j)))
    t = added(t, sums_of_columns(products_along(K, 0, min(n, done), i, j)))
    if done > n:
        t = added(t, opposite(sums_of_columns(products_along(K, n, done, i, j))))
    if start >= n:
        t = opposite(t)
    put_divided(K, diagonal, t, begin, start)


@kernel(inline=True)
def whole_given_below(K, diagonal, begin, start):
    """The same in `factor.factor_below`."""
    t = transposed(quads_of(K, begin, start))
    products = products_along(K, 0, start, from_(begin), from_(start))
    put_divided(K, diagonal, added(t, sums_of_columns(products)), begin, start)


@kernel(inline=True)
def whole_product(K, n, size, start, begin):
    """A tile of `bordered.multiply_rows`."""
    i, j = from_(start), from_(begin)
    t = opposite(sums_of_columns(products_along(K, 0, n, j, i)))
    if size > n:
        t = added(t, sums_of_columns(products_along(K, n, size, j, i)))
    put_quads(K, start, begin, t)


# ---- where that can be done: returned is whether it was ------------------------------------------


def done_below(K, diagonal, Gt, rows, weight, begin, end, start, stop, done, team):
    """Whether a tile below the diagonal was a whole one, and is done."""
    return False


@overload(done_below)
def _done_below(K, diagonal, Gt, rows, weight, begin, end, start, stop, done, team):
    def of_floats(K, diagonal, Gt, rows, weight, begin, end, start, stop, done, team):
        whole = begin + TILE <= end and start + TILE <= stop
        if whole:
            whole_below(K, diagonal, Gt, rows, weight, begin, start, done)
        return whole

    def of_packs(K, diagonal, Gt, rows, weight, begin, end, start, stop, done, team):
        return False

    return of_floats if runs_along(K, team) else of_packs


def done_given_below(K, diagonal, begin, start, size, team):
    """The same where the tile is given below the diagonal."""
    return False


@overload(done_given_below)
def _done_given_below(K, diagonal, begin, start, size, team):
    def of_floats(K, diagonal, begin, start, size, team):
        whole = begin + TILE <= size
        if whole:
            whole_given_below(K, diagonal, begin, start)
        return whole

    def of_packs(K, diagonal, begin, start, size, team):
        return False

    return of_floats if runs_along(K, team) else of_packs


def done_product(K, n, size, start, begin, end, team):
    """Whether a tile of a product right of the diagonal was a whole one, and is done."""
    return False


@overload(done_product)
def _done_product(K, n, size, start, begin, end, team):
    def of_floats(K, n, size, start, begin, end, team):
        whole = start < begin and begin + TILE <= end
        if whole:
            whole_product(K, n, size, start, begin)
        return whole

    def of_packs(K, n, size, start, begin, end, team):
        return False

    return of_floats if runs_along(K, team) else of_packs
