"""Gradients of what a problem has for itself (14): of matrices they are sums of two outer products.

Those are more numbers than all else that a derivative writes, and nobody reads them soon. Written
past the cache, lines of it at a time, they take half of the time, since a line need not be fetched
before it is overwritten: 6 instead of 12 microseconds for Q and G of 100 by 100 in 128 problems.
"""

from collections import namedtuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from qpcore.kernels.machine import kernel
from qpcore.kernels.neighbours import lanes_along, pack_of_vector, pointer_to, put_in_vector
from qpcore.kernels.pack import PACK_BYTES

# Where gradients go, an array (batch, ...) for each argument; without problems if it is not asked
# for, or shared. shifts: how many numbers into a line of the cache those of Q, G and A begin, if
# they are to be written past it; TOGETHER if they begin with a line, and have rows so short that
# whole lines are put together of a group's, where there is room for that; else NEAR.
Own = namedtuple("Own", "Q q G h A b lb ub h_lower shifts")
NEAR, TOGETHER = -1, -2

# Arrays of so many bytes are worth writing past the cache; smaller ones stay in it for whoever
# reads them.
LEAST_PAST_CACHE = 1 << 22

# Gradients of large matrices are written past the cache as they come if their rows have so many
# numbers: short ones have few whole lines.
LEAST_ROW = 32


@kernel
def store_gradients(own, derivative, first, slots):
    """Hand out the gradients of a group, of plain floats."""
    at, d = derivative.answer, derivative.adjoint
    half, one = at.x.dtype.type(0.5), at.x.dtype.type(1)
    for k in range(first, min(first + slots, len(at.x))):
        store_sum(own.Q, half, d.x, at.x, at.x, d.x, k, own.shifts[0])
        store_sum(own.G, one, at.z, d.x, d.z, at.x, k, own.shifts[1])
        store_sum(own.A, one, at.y, d.x, d.y, at.x, k, own.shifts[2])
        store_shares(own, at, d, k)


@kernel
def store_gradients_together(own, derivative, lines, first, slots):
    """The same; `lines` has room for as many numbers as a matrix of the group has."""
    at, d, shifts = derivative.answer, derivative.adjoint, own.shifts
    half, one = at.x.dtype.type(0.5), at.x.dtype.type(1)
    store_sums(own.Q, half, d.x, at.x, at.x, d.x, lines, first, slots, shifts[0])
    store_sums(own.G, one, at.z, d.x, d.z, at.x, lines, first, slots, shifts[1])
    store_sums(own.A, one, at.y, d.x, d.y, at.x, lines, first, slots, shifts[2])
    for k in range(first, min(first + slots, len(at.x))):
        store_shares(own, at, d, k)


# ---- vectors -------------------------------------------------------------------------------------


@kernel
def store_shares(own, at, d, k):
    """Gradients of a problem's vectors."""
    one = at.x.dtype.type(1)
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


# ---- matrices ------------------------------------------------------------------------------------


@kernel
def store_sums(out, scale, a, b, c, d, lines, first, slots, shift):
    """out = scale (a bᵀ + c dᵀ) in the problems of a group."""
    if len(out) > 0:
        if shift == TOGETHER and first + slots <= len(out):
            put_together(out, scale, a, b, c, d, lines, first, slots)
        else:
            for k in range(first, min(first + slots, len(out))):
                store_sum(out, scale, a, b, c, d, k, shift)


@kernel
def put_together(out, scale, a, b, c, d, lines, first, slots):
    """The same in room that stays in the cache, and from there past it, which reads no line."""
    size, columns, step = out.shape[1] * out.shape[2], out.shape[2], lanes_along(out)
    for slot in range(slots):
        k = first + slot
        for i in range(out.shape[1]):
            begin, ai, ci = slot * size + i * columns, scale * a[k, i], scale * c[k, i]
            put_row(lines, begin, ai, b[k], ci, d[k])
    for t in range(0, slots * size, step):
        store_past_cache(out, (first, 0, t), pack_of_vector(lines, t))


@kernel(inline=True)
def store_sum(out, scale, a, b, c, d, k, shift):
    """out[k] = scale (a bᵀ + c dᵀ), past the cache if `shift` says where in a line it begins."""
    if len(out) > 0:
        if shift < 0:
            store_sum_near(out, scale, a, b, c, d, k)
        else:
            store_sum_past_cache(out, scale, a, b, c, d, k, shift)


@kernel
def store_sum_near(out, scale, a, b, c, d, k):
    """Loops by a team's width are not vectorised, which took six times as long; hence no team."""
    for i in range(out.shape[1]):
        put_row(out[k, i], 0, scale * a[k, i], b[k], scale * c[k, i], d[k])


@kernel(inline=True)
def put_row(numbers, begin, ai, b, ci, d):
    """A row, from there on, by packs, of which the last one lies over part of the one before it."""
    columns, step = len(b), lanes_along(b)
    if columns < step:
        for j in range(columns):
            numbers[begin + j] = ai * b[j] + ci * d[j]
    else:
        for start in range(0, columns, step):
            j = min(start, columns - step)
            put_in_vector(numbers, begin + j, pack_of_vector(b, j) * ai + pack_of_vector(d, j) * ci)


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
            store_past_cache(out, (k, i, j), pack)
        store_in_row(out, ai, b, ci, d, k, i, 0, begin)
        store_in_row(out, ai, b, ci, d, k, i, end, columns)


@kernel(inline=True)
def store_in_row(out, ai, b, ci, d, k, i, begin, end):
    """Columns begin..end of row i."""
    for j in range(begin, end):
        out[k, i, j] = ai * b[k, j] + ci * d[k, j]


@intrinsic
def store_past_cache(typing_context, out, index, pack):
    """Write a pack to `out` from this index on, where a line of the cache begins."""

    def codegen(context, builder, sig, args):
        numbers = zip(cgutils.unpack_tuple(builder, args[1]), sig.args[1], strict=True)
        index = [context.cast(builder, number, kind, types.intp) for number, kind in numbers]
        pointer = pointer_to(context, builder, out, args[0], index)
        store = builder.store(args[2], pointer, align=PACK_BYTES)
        one = ir.Constant(ir.IntType(32), 1)
        store.set_metadata("nontemporal", builder.module.add_metadata([one]))
        return context.get_dummy_value()

    return types.void(out, index, pack), codegen


@intrinsic
def fetch(typing_context, packs, place):
    """Ask for the line of the cache where packs[place] begins, into the second level."""

    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        view = arrayobj.make_array(packs)(context, builder, args[0])
        line = cgutils.get_item_pointer(context, builder, packs, view, [index])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        hints = number(0), number(2), number(1)  # to be read; the level; data
        builder.call(prefetch, [builder.bitcast(line, byte), *hints])
        return context.get_dummy_value()

    return types.void(packs, place), codegen


@intrinsic
def wait_for_stores(typing_context):
    """Let all that was written past the cache arrive before whatever comes next."""

    def codegen(context, builder, sig, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen
