"""Gradients of what a problem has for itself (14): of matrices they are sums of two outer products.

Those are more numbers than all else that a derivative writes, and nobody reads them soon. Written
past the cache, lines of it at a time, they take half of the time, since a line need not be fetched
before it is overwritten: 6 instead of 12 microseconds for Q and G of 100 by 100 in 128 problems.
"""

from collections import namedtuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qpcore.kernels.machine import kernel
from qpcore.kernels.neighbours import lanes_along, pack_of_vector, pointer_to
from qpcore.kernels.pack import PACK_BYTES

# Where gradients go, an array (batch, ...) for each argument; without problems if it is not asked
# for, or shared. shifts: how many numbers into a line of the cache those of Q, G and A begin, if
# they are to be written past it, else NEAR.
Own = namedtuple("Own", "Q q G h A b lb ub h_lower shifts")
NEAR = -1

# Arrays of so many bytes are worth writing past the cache; smaller ones stay in it for whoever
# reads them.
LEAST_PAST_CACHE = 1 << 22


@kernel
def store_gradients(own, derivative, first, slots):
    """Hand out the gradients of a group, of plain floats."""
    at, d = derivative.answer, derivative.adjoint
    half, one = at.x.dtype.type(0.5), at.x.dtype.type(1)
    for k in range(first, min(first + slots, len(at.x))):
        store_sum(own.Q, half, d.x, at.x, at.x, d.x, k, own.shifts[0])
        store_sum(own.G, one, at.z, d.x, d.z, at.x, k, own.shifts[1])
        store_sum(own.A, one, at.y, d.x, d.y, at.x, k, own.shifts[2])
        store_share(own.q, one, d.x, at.x, 0, k)
        store_share(own.b, -one, d.y, at.y, 0, k)
        store_share(own.h, -one, d.z, at.z, 1, k)
        store_share(own.h_lower, -one, d.z, at.z, -1, k)
        store_share(own.ub, -one, d.z_box, at.z_box, 1, k)
        store_share(own.lb, -one, d.z_box, at.z_box, -1, k)


@kernel(inline=True)
def store_share(out, scale, d, at, side, k):
    """Multiples of d; of limits on a side, 1 or -1, only where the multiplier belongs to it."""
    if len(out) > 0:
        for i in range(out.shape[1]):
            upper = at[k, i] >= 0
            share = side == 0 or upper == (side > 0)
            out[k, i] = scale * d[k, i] * out.dtype.type(share)


@kernel(inline=True)
def store_sum(out, scale, a, b, c, d, k, shift):
    """out[k] = scale (a bᵀ + c dᵀ), past the cache if `shift` says where in a line it begins."""
    if len(out) > 0:
        if shift == NEAR:
            store_sum_near(out, scale, a, b, c, d, k)
        else:
            store_sum_past_cache(out, scale, a, b, c, d, k, shift)


@kernel
def store_sum_near(out, scale, a, b, c, d, k):
    """Loops by a team's width are not vectorised, which took six times as long; hence no team."""
    for i in range(out.shape[1]):
        store_in_row(out, scale * a[k, i], b, scale * c[k, i], d, k, i, 0, out.shape[2])


@kernel
def store_sum_past_cache(out, scale, a, b, c, d, k, shift):
    """Whole lines past the cache, and the rest of each row as usual."""
    rows, columns, step = out.shape[1], out.shape[2], lanes_along(b)
    bk, dk = b[k], d[k]
    for i in range(rows):
        ai, ci = scale * a[k, i], scale * c[k, i]
        begin = min(columns, -(shift + (k * rows + i) * columns) % step)
        end = columns - (columns - begin) % step
        for j in range(begin, end, step):
            pack = pack_of_vector(bk, j) * ai + pack_of_vector(dk, j) * ci
            store_past_cache(out, k, i, j, pack)
        store_in_row(out, ai, b, ci, d, k, i, 0, begin)
        store_in_row(out, ai, b, ci, d, k, i, end, columns)


@kernel(inline=True)
def store_in_row(out, ai, b, ci, d, k, i, begin, end):
    """Columns begin..end of row i."""
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
