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


@intrinsic
def divided(typing_context, memory, size):
    """Return memory[:size] and memory[size:] for a size that is within it.

    A slice is clipped to its array, by some fifteen instructions; for the sixty arrays of a
    workspace, each of which begins where another ends, those took a microsecond.
    """

    def codegen(context, builder, signature, arguments):
        whole = arrayobj.make_array(memory)(context, builder, arguments[0])
        count = context.cast(builder, arguments[1], size, types.intp)
        (total,) = cgutils.unpack_tuple(builder, whole.shape)
        parts = []
        for first, length in ((count.type(0), count), (count, builder.sub(total, count))):
            part = arrayobj.make_array(memory)(context, builder)
            arrayobj.populate_array(
                part,
                data=builder.gep(whole.data, [first]),
                shape=[length],
                strides=cgutils.unpack_tuple(builder, whole.strides),
                itemsize=whole.itemsize,
                meminfo=whole.meminfo,
            )
            value = part._getvalue()
            parts.append(arrayobj.impl_ret_borrowed(context, builder, memory, value))
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(memory, 2)(memory, size), codegen


@intrinsic
def as_numbers(typing_context, packs):
    """View a vector of packs as the floats in it, one after the other."""
    element, lanes = packs.dtype.dtype, packs.dtype.lanes
    target = types.Array(element, 1, "C", aligned=packs.aligned)
    size = element.bitwidth // 8

    def codegen(context, builder, sig, args):
        return _view(
            context,
            builder,
            packs,
            args[0],
            target,
            context.get_data_type(element),
            lambda axes: [builder.mul(axes[0], axes[0].type(lanes))],
            lambda axes: [context.get_constant(types.intp, size)],
            size,
        )

    return target(packs), codegen


if config.ENABLE_CUDASIM:

    def divided(memory, size):
        """A vector in two."""
        return memory[:size], memory[size:]

    def as_floats(array):
        """View an array of floats (...) as (..., 1)."""
        return array[..., np.newaxis]

    def as_matrix(vector, rows, columns):
        """View a vector as a matrix."""
        return vector.reshape((rows, columns))
