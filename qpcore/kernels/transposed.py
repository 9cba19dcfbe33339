"""Blocks of as many neighbours as a pack has lanes, of as many problems: rows there, packs here."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from qpcore.kernels.pack import vector_type


@intrinsic
def entries_of_slots(typing_context, packs, entries, first):
    """Return the entries from `first` on, one a lane; the last one stands for those behind it."""
    lanes = packs.dtype.lanes

    def codegen(context, builder, sig, args):
        start = context.cast(builder, args[2], first, types.intp)
        view = arrayobj.make_array(entries)(context, builder, args[1])
        (count,) = cgutils.unpack_tuple(builder, view.shape)
        last, found = builder.sub(count, count.type(1)), []
        for lane in range(lanes):
            index = builder.add(start, start.type(lane))
            index = builder.select(builder.icmp_signed("<", index, last), index, last)
            pointer = cgutils.get_item_pointer(context, builder, entries, view, [index])
            found.append(builder.load(pointer))
        return context.make_tuple(builder, sig.return_type, found)

    return types.UniTuple(entries.dtype, lanes)(packs, entries, first), codegen


@intrinsic
def consecutive_slots(typing_context, packs, count, first):
    """Return `first` and the numbers behind it, one a lane; count - 1 stands for what is beyond."""
    lanes = packs.dtype.lanes

    def codegen(context, builder, sig, args):
        start = context.cast(builder, args[2], first, types.intp)
        last = builder.sub(context.cast(builder, args[1], count, types.intp), start.type(1))
        found = []
        for lane in range(lanes):
            index = builder.add(start, start.type(lane))
            found.append(builder.select(builder.icmp_signed("<", index, last), index, last))
        return context.make_tuple(builder, sig.return_type, found)

    return types.UniTuple(types.intp, lanes)(packs, count, first), codegen


@intrinsic
def move_block(typing_context, out, row, column, down, right, values, entries, i, j):
    """Move neighbours values[entry, i, j:] of the entry of every lane to packs of `out`.

    As many as there are lanes. The first pack goes to out[row, column], the next ones go so many
    rows down and columns to the right each.
    """
    lanes = out.dtype.lanes
    vector = vector_type(out.dtype)
    itemsize = values.dtype.bitwidth // 8
    other = values.dtype.bitwidth - out.dtype.dtype.bitwidth  # how much wider the values are

    def codegen(context, builder, sig, args):
        wide = ir.VectorType(context.get_data_type(values.dtype), lanes)

        def converted(numbers):
            if other == 0:
                return numbers
            return (builder.fptrunc if other > 0 else builder.fpext)(numbers, vector)

        numbers = (1, 2, 3, 4, 7, 8)
        row, column, down, right, i, j = (
            context.cast(builder, args[k], sig.args[k], types.intp) for k in numbers
        )
        source = arrayobj.make_array(values)(context, builder, args[5])
        target = arrayobj.make_array(out)(context, builder, args[0])
        block = []
        for entry in cgutils.unpack_tuple(builder, args[6]):
            place = cgutils.get_item_pointer(context, builder, values, source, [entry, i, j])
            row_of = builder.bitcast(place, wide.as_pointer())
            block.append(converted(builder.load(row_of, align=itemsize)))
        for pack in _transposed(builder, block, lanes):
            place = cgutils.get_item_pointer(context, builder, out, target, [row, column])
            builder.store(pack, place, align=out.dtype.dtype.bitwidth // 8)
            row, column = builder.add(row, down), builder.add(column, right)
        return context.get_dummy_value()

    return types.void(out, row, column, down, right, values, entries, i, j), codegen


@intrinsic
def hand_out_block(typing_context, out, i, j, packs, k):
    """Write packs[k:], as many as there are lanes, to out[i:, j:], of each lane's problem a row."""
    lanes = packs.dtype.lanes
    vector, itemsize = vector_type(packs.dtype), out.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        i, j, k = (context.cast(builder, args[n], sig.args[n], types.intp) for n in (1, 2, 4))
        source = arrayobj.make_array(packs)(context, builder, args[3])
        target = arrayobj.make_array(out)(context, builder, args[0])
        block = []
        for number in range(lanes):
            index = builder.add(k, k.type(number))
            place = cgutils.get_item_pointer(context, builder, packs, source, [index])
            block.append(builder.load(place, align=itemsize))
        for row in _transposed(builder, block, lanes):
            place = cgutils.get_item_pointer(context, builder, out, target, [i, j])
            builder.store(row, builder.bitcast(place, vector.as_pointer()), align=itemsize)
            i = builder.add(i, i.type(1))
        return context.get_dummy_value()

    return types.void(out, i, j, packs, k), codegen


def _transposed(builder, block, lanes):
    """Transpose a square of vectors: exchange halves, then quarters, and so on."""
    block, width = list(block), lanes
    while width > 1:
        width //= 2
        for i in (i for i in range(lanes) if not i & width):
            x, y = block[i], block[i + width]
            upper = [k if not k & width else lanes + k - width for k in range(lanes)]
            lower = [k + width if not k & width else lanes + k for k in range(lanes)]
            block[i] = builder.shuffle_vector(x, y, _lanes(upper))
            block[i + width] = builder.shuffle_vector(x, y, _lanes(lower))
    return block


def _lanes(numbers):
    """A shuffle's choice of lanes."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)
