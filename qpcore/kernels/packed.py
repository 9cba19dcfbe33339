"""Arrays of packs: views of float arrays whose last axis holds the lanes, and back."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, overload
from numba.np import arrayobj

from qpcore.kernels.pack import PACK_BYTES, PACKS, PackType, vector_type


def _view(context, builder, source_type, source, target_type, vector, shape, strides, itemsize):
    """The same memory under another element type."""
    old = arrayobj.make_array(source_type)(context, builder, source)
    new = arrayobj.make_array(target_type)(context, builder)
    arrayobj.populate_array(
        new,
        data=builder.bitcast(old.data, vector.as_pointer()),
        shape=shape(cgutils.unpack_tuple(builder, old.shape)),
        strides=strides(cgutils.unpack_tuple(builder, old.strides)),
        itemsize=context.get_constant(types.intp, itemsize),
        meminfo=old.meminfo,
    )
    return arrayobj.impl_ret_borrowed(context, builder, target_type, new._getvalue())


def _packs_view(array):
    """Signature and code of a view of a C-contiguous float array (..., lanes) as packs (...)."""
    pack = PACKS[array.dtype]
    # NumPy promises 16-byte alignment where an aligned vector load assumes 64.
    target = types.Array(pack, array.ndim - 1, "C", aligned=False)

    def codegen(context, builder, sig, args):
        def drop(axes):
            return axes[:-1]

        return _view(
            context, builder, array, args[0], target, vector_type(pack), drop, drop, PACK_BYTES
        )

    return target(array), codegen


@intrinsic
def as_packs(typing_context, array):
    """View a C-contiguous float array (..., lanes) as an array of packs (...)."""
    return _packs_view(array)


# ---- blocks --------------------------------------------------------------------------------------


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
def own_entry(typing_context, matrix, row, column):
    """Return matrix[row, column], with a row and a column for each lane; numbers, not negative."""
    element = matrix.dtype
    packed = isinstance(element, PackType)

    def codegen(context, builder, sig, args):
        view = arrayobj.make_array(matrix)(context, builder, args[0])
        kind = ir.IntType(64)
        if not packed:
            index = [builder.fptosi(number, kind) for number in args[1:]]
            return builder.load(cgutils.get_item_pointer(context, builder, matrix, view, index))
        kind = ir.VectorType(kind, element.lanes)
        row, column = (builder.fptosi(numbers, kind) for numbers in args[1:])
        found = ir.Constant(vector_type(element), ir.Undefined)
        for lane in range(element.lanes):
            place = ir.IntType(32)(lane)
            index = [builder.extract_element(numbers, place) for numbers in (row, column)]
            pack = cgutils.get_item_pointer(context, builder, matrix, view, index)
            numbers = builder.bitcast(pack, found.type.element.as_pointer())
            number = builder.load(builder.gep(numbers, [place]))
            found = builder.insert_element(found, number, place)
        return found

    return element(matrix, row, column), codegen


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


@intrinsic
def as_elements(typing_context, memory):
    """View a workspace (elements, lanes) as packs; one of floats, (elements,), as it is."""
    if memory.ndim == 2:
        return _packs_view(memory)
    return memory(memory), lambda context, builder, sig, args: arrayobj.impl_ret_borrowed(
        context, builder, memory, args[0]
    )


def slots_in(memory):
    """How many problems a workspace holds: one a lane, or one."""
    return 1


@overload(slots_in)
def _slots_in(memory):
    if memory.ndim == 2:
        return lambda memory: memory.shape[1]
    return lambda memory: 1


@intrinsic
def as_floats(typing_context, array):
    """View an array of packs (...) as a float array (..., lanes); floats have one lane."""
    packed = isinstance(array.dtype, PackType)
    element = array.dtype.dtype if packed else array.dtype
    lanes = array.dtype.lanes if packed else 1
    target = types.Array(element, array.ndim + 1, "C", aligned=array.aligned)
    size = element.bitwidth // 8

    def codegen(context, builder, sig, args):
        def constant(number):
            return context.get_constant(types.intp, number)

        return _view(
            context,
            builder,
            array,
            args[0],
            target,
            context.get_data_type(element),
            lambda axes: [*axes, constant(lanes)],
            lambda axes: [*axes, constant(size)],
            size,
        )

    return target(array), codegen


@intrinsic
def as_matrix(typing_context, vector, rows, columns):
    """View a contiguous vector as a matrix (Numba's reshape does not take packs)."""
    target = types.Array(vector.dtype, 2, "C", aligned=vector.aligned)

    def codegen(context, builder, sig, args):
        old = arrayobj.make_array(sig.args[0])(context, builder, args[0])
        new = arrayobj.make_array(target)(context, builder)
        shape = [context.cast(builder, v, t, types.intp) for v, t in zip(args[1:], sig.args[1:])]
        arrayobj.populate_array(
            new,
            data=old.data,
            shape=shape,
            strides=[builder.mul(shape[1], old.itemsize), old.itemsize],
            itemsize=old.itemsize,
            meminfo=old.meminfo,
        )
        return arrayobj.impl_ret_borrowed(context, builder, target, new._getvalue())

    return target(vector, rows, columns), codegen


if config.ENABLE_CUDASIM:

    def as_floats(array):
        """View an array of floats (...) as (..., 1)."""
        return array[..., np.newaxis]

    def as_matrix(vector, rows, columns):
        """View a vector as a matrix."""
        return vector.reshape((rows, columns))
