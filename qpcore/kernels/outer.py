"""Sums of two outer products, one matrix for each problem: gradients of Q, G and A (14).

They are more numbers than all else that a derivative writes, and nobody reads them soon. Written
past the cache, lines of it at a time, they take half of the time, since a line need not be fetched
before it is overwritten: 6 instead of 12 microseconds for Q and G of 100 by 100 in 128 problems.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qpcore.kernels.machine import kernel
from qpcore.kernels.neighbours import lanes_along, pack_of_vector, pointer_to
from qpcore.kernels.pack import PACK_BYTES


@kernel
def add_outer_products(out, a, b, c, d, k):
    """out[k] = a bᵀ + c dᵀ in problem k, of plain floats.

    Loops by a team's width are not vectorised, which took six times as long; hence no team.
    """
    for i in range(out.shape[1]):
        add_to_row(out, a, b, c, d, k, i, 0, out.shape[2])


@kernel
def add_outer_products_past_cache(out, a, b, c, d, k, shift):
    """The same past the cache; `out` begins so many numbers into one of its lines."""
    rows, columns, step = out.shape[1], out.shape[2], lanes_along(b)
    bk, dk = b[k], d[k]
    for i in range(rows):
        ai, ci = a[k, i], c[k, i]
        begin = min(columns, -(shift + (k * rows + i) * columns) % step)
        end = columns - (columns - begin) % step
        for j in range(begin, end, step):
            pack = pack_of_vector(bk, j) * ai + pack_of_vector(dk, j) * ci
            store_past_cache(out, k, i, j, pack)
        add_to_row(out, a, b, c, d, k, i, 0, begin)
        add_to_row(out, a, b, c, d, k, i, end, columns)


@kernel(inline=True)
def add_to_row(out, a, b, c, d, k, i, begin, end):
    """Columns begin..end of row i."""
    ai, ci = a[k, i], c[k, i]
    for j in range(begin, end):
        out[k, i, j] = ai * b[k, j] + ci * d[k, j]


@intrinsic
def store_past_cache(typing_context, out, k, i, j, pack):
    """Write a pack to out[k, i, j:], where a line of the cache begins."""

    def codegen(context, builder, sig, args):
        index = [
            context.cast(builder, args[place], sig.args[place], types.intp) for place in (1, 2, 3)
        ]
        pointer = pointer_to(context, builder, out, args[0], index)
        store = builder.store(args[4], pointer, align=PACK_BYTES)
        one = ir.Constant(ir.IntType(32), 1)
        store.set_metadata("nontemporal", builder.module.add_metadata([one]))
        return context.get_dummy_value()

    return types.void(out, k, i, j, pack), codegen


@intrinsic
def wait_for_stores(typing_context):
    """Let all that was written past the cache arrive before whatever comes next."""

    def codegen(context, builder, sig, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen
