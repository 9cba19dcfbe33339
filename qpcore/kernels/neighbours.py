"""Where elements are floats, the lanes of a pack can be neighbours in one problem's row.

On a CPU, large problems are solved one at a time; these packs are how its vectors are used then.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from qpcore.kernels.pack import PACKS, vector_type


def pointer_to(context, builder, array, value, index):
    """Where a pack that begins at an entry of a float array lies."""
    view = arrayobj.make_array(array)(context, builder, value)
    first = cgutils.get_item_pointer(context, builder, array, view, index)
    return builder.bitcast(first, vector_type(PACKS[array.dtype]).as_pointer())


def _indices(context, builder, sig, args, places):
    """Arguments as integers of an index's size."""
    return [context.cast(builder, args[place], sig.args[place], types.intp) for place in places]


def _bytes(array):
    """Alignment of a float array's entries, which is all that its packs have."""
    return array.dtype.bitwidth // 8


@intrinsic
def pack_of_vector(typing_context, vector, k):
    """Return the entries of a float vector from k on as a pack."""

    def codegen(context, builder, sig, args):
        index = _indices(context, builder, sig, args, [1])
        pointer = pointer_to(context, builder, vector, args[0], index)
        return builder.load(pointer, align=_bytes(vector))

    return PACKS[vector.dtype](vector, k), codegen


@intrinsic
def pack_of_row(typing_context, matrix, i, k):
    """Return the entries of row i of a float matrix from column k on as a pack."""

    def codegen(context, builder, sig, args):
        index = _indices(context, builder, sig, args, [1, 2])
        pointer = pointer_to(context, builder, matrix, args[0], index)
        return builder.load(pointer, align=_bytes(matrix))

    return PACKS[matrix.dtype](matrix, i, k), codegen


@intrinsic
def put_in_vector(typing_context, vector, k, pack):
    """Write a pack to the entries of a float vector from k on."""

    def codegen(context, builder, sig, args):
        index = _indices(context, builder, sig, args, [1])
        pointer = pointer_to(context, builder, vector, args[0], index)
        builder.store(args[2], pointer, align=_bytes(vector))
        return context.get_dummy_value()

    return types.void(vector, k, pack), codegen


@intrinsic
def lanes_along(typing_context, array):
    """How many entries of a float array make a pack."""
    lanes = PACKS[array.dtype].lanes
    return types.intp(array), lambda c, b, s, args: c.get_constant(types.intp, lanes)


@intrinsic
def zeros_along(typing_context, array):
    """Return a pack of zeros of the array's dtype."""
    pack = PACKS[array.dtype]
    zeros = ir.Constant(vector_type(pack), [0.0] * pack.lanes)
    return pack(array), lambda context, builder, sig, args: zeros


@intrinsic
def sum_lanes(typing_context, pack):
    """Add up the lanes of a pack, by halves: the order is fixed."""

    def codegen(context, builder, sig, args):
        vector, lanes = args[0], pack.lanes
        integer, undefined = ir.IntType(32), ir.Constant(args[0].type, ir.Undefined)
        while lanes > 1:
            lanes //= 2
            moved = [(k + lanes) % pack.lanes for k in range(pack.lanes)]
            mask = ir.Constant(ir.VectorType(integer, pack.lanes), moved)
            vector = builder.fadd(vector, builder.shuffle_vector(vector, undefined, mask))
        return builder.extract_element(vector, integer(0))

    return pack.dtype(pack), codegen
