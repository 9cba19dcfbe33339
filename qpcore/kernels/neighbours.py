"""Where elements are floats, the lanes of a pack can be neighbours in one problem's row.

On a CPU, large problems are solved one at a time; these packs are how its vectors are used then.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from qpcore.kernels.pack import PACKS, vector_type


def pointer_to(context, builder, array, value, index, pack=None):
    """Where a pack, of the usual size or another, that begins at an entry of a float array lies."""
    view = arrayobj.make_array(array)(context, builder, value)
    first = cgutils.get_item_pointer(context, builder, array, view, index)
    return builder.bitcast(first, vector_type(pack or PACKS[array.dtype]).as_pointer())


def place_of_row(context, builder, sig, args, pack):
    """The same with arguments that begin with a matrix, a row and a column."""
    index = _indices(context, builder, sig, args, [1, 2])
    return pointer_to(context, builder, sig.args[0], args[0], index, pack)


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
def rest_of_vector(typing_context, vector, k, stop):
    """Return the entries of a float vector from k to stop, fewer than a pack, and zeros behind."""

    def codegen(context, builder, sig, args):
        k, end = _indices(context, builder, sig, args, [1, 2])
        pointer = pointer_to(context, builder, vector, args[0], [k])
        return _load_first(context, builder, pointer, builder.sub(end, k), vector)

    return PACKS[vector.dtype](vector, k, stop), codegen


@intrinsic
def rest_of_row(typing_context, matrix, i, k, stop):
    """Return the entries of row i of a float matrix from column k to stop, likewise."""

    def codegen(context, builder, sig, args):
        i, k, end = _indices(context, builder, sig, args, [1, 2, 3])
        pointer = pointer_to(context, builder, matrix, args[0], [i, k])
        return _load_first(context, builder, pointer, builder.sub(end, k), matrix)

    return PACKS[matrix.dtype](matrix, i, k, stop), codegen


def _load_first(context, builder, pointer, count, array):
    """So many entries, and zeros; what lies behind them is not touched."""
    vector, integer = vector_type(PACKS[array.dtype]), ir.IntType(64)
    lanes = vector.count
    numbers = ir.VectorType(integer, lanes)
    first = builder.insert_element(ir.Constant(numbers, ir.Undefined), count, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    counts = builder.shuffle_vector(first, ir.Constant(numbers, ir.Undefined), zeros)
    mask = builder.icmp_signed(">", counts, ir.Constant(numbers, list(range(lanes))))
    element = "f64" if vector.element == ir.DoubleType() else "f32"
    kind = ir.FunctionType(vector, [pointer.type, ir.IntType(32), mask.type, vector])
    name = f"llvm.masked.load.v{lanes}{element}.p0"
    load = cgutils.get_or_insert_function(builder.module, kind, name)
    alignment, rest = ir.IntType(32)(_bytes(array)), ir.Constant(vector, [0.0] * lanes)
    return builder.call(load, [pointer, alignment, mask, rest])


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


@intrinsic
def sum_lanes_of_tile(typing_context, tile):
    """Add up the lanes of four by four packs, as `sum_lanes` does, by pairs of packs.

    Each addition halves what is left of two packs at once: 14 of them instead of 48.
    """
    pack = tile[0][0]

    def codegen(context, builder, sig, args):
        rows = [cgutils.unpack_tuple(builder, r) for r in cgutils.unpack_tuple(builder, args[0])]
        left, place = halves_added(builder, [v for row in rows for v in row]), ir.IntType(32)
        sums = [builder.extract_element(v, place(k)) for v in left for k in range(pack.lanes)]
        four = types.UniTuple(pack.dtype, 4)
        rows = [context.make_tuple(builder, four, sums[k : k + 4]) for k in range(0, 16, 4)]
        return context.make_tuple(builder, sig.return_type, rows)

    return types.UniTuple(types.UniTuple(pack.dtype, 4), 4)(tile), codegen


def halves_added(builder, vectors):
    """The sums of the lanes of sixteen vectors, side by side in as many vectors as that takes."""
    lanes = width = vectors[0].type.count
    mask = ir.VectorType(ir.IntType(32), lanes)
    while width > 1:
        width //= 2
        places = [start + k for start in range(0, 2 * lanes, 2 * width) for k in range(width)]
        first, second = ir.Constant(mask, places), ir.Constant(mask, [k + width for k in places])
        vectors = [
            builder.fadd(builder.shuffle_vector(a, b, first), builder.shuffle_vector(a, b, second))
            for a, b in zip(vectors[::2], vectors[1::2])
        ]
    return vectors
