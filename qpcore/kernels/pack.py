"""Packs: vectors of numbers that belong to different problems, as a type of Numba's.

A *pack* is one LLVM vector of 64 bytes, eight float64 or sixteen float32, each lane another
problem's number. It has the arithmetic operators, `abs`, `math.sqrt`, comparisons that give a
*mask* and the operators of masks. Arrays of packs index like ordinary arrays; they are views of
float arrays whose last axis holds the lanes.
"""

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, overload, register_model
from numba.np import arrayobj

PACK_BYTES = 64

# ---- types ---------------------------------------------------------------------------------------


class PackType(types.Type):
    """Lanes of one floating-point type that belong to different problems."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = 8 * PACK_BYTES // dtype.bitwidth
        self.bitwidth = 8 * PACK_BYTES  # asked for by Numba's array type
        super().__init__(name=f"pack{self.lanes}x{dtype}")


class MaskType(types.Type):
    """The result of comparing packs: one bit a lane."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(name=f"mask{lanes}")


PACKS = {t: PackType(t) for t in (types.float64, types.float32)}


def vector_type(ty):
    """The LLVM vector behind a pack or mask type."""
    if isinstance(ty, MaskType):
        return ir.VectorType(ir.IntType(1), ty.lanes)
    return ir.VectorType(ir.DoubleType() if ty.dtype == types.float64 else ir.FloatType(), ty.lanes)


class VectorModel(models.PrimitiveModel):
    """Packs and masks live in registers as they are."""

    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, vector_type(fe_type))


register_model(PackType)(VectorModel)
register_model(MaskType)(VectorModel)


def lanes_of(dtype):
    """How many problems a pack of this NumPy dtype holds."""
    return PACK_BYTES // np.dtype(dtype).itemsize


# ---- operators -----------------------------------------------------------------------------------


def common_pack(*tys):
    """The one pack type among the operands, where the others are numbers; else None."""
    packs = {t for t in tys if isinstance(t, PackType)}
    numbers = (types.Float, types.Integer, types.IntegerLiteral)
    if len(packs) == 1 and all(isinstance(t, (PackType, *numbers)) for t in tys):
        return packs.pop()
    return None


def as_vector(context, builder, pack, ty, value):
    """A pack as it is; a number is cast to the pack's dtype and broadcast to all lanes."""
    if ty == pack:
        return value
    vector = vector_type(pack)
    undefined = ir.Constant(vector, ir.Undefined)
    number = context.cast(builder, value, ty, pack.dtype)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), pack.lanes), [0] * pack.lanes)
    return builder.shuffle_vector(first, undefined, zeros)


def register_operator(op, arity, emit, gives_mask=False):
    """Teach Numba an operator on packs, or on packs and numbers."""

    @infer_global(op)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            pack = common_pack(*args)
            if pack is not None and len(args) == arity:
                return signature(MaskType(pack.lanes) if gives_mask else pack, *args)

    def lower(context, builder, sig, args):
        pack = common_pack(*sig.args)
        vectors = (as_vector(context, builder, pack, t, v) for t, v in zip(sig.args, args))
        return emit(builder, *vectors)

    kinds = (PackType, types.Float, types.Integer)
    for a in kinds:
        for b in kinds if arity == 2 else (None,):
            if PackType in (a, b):
                lower_builtin(op, *((a, b) if arity == 2 else (a,)))(lower)


def call_llvm(name):
    """An emitter that calls an LLVM vector intrinsic of one argument."""

    def emit(builder, vector):
        element = "f64" if vector.type.element == ir.DoubleType() else "f32"
        full = f"llvm.{name}.v{vector.type.count}{element}"
        kind = ir.FunctionType(vector.type, [vector.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, full), [vector])

    return emit


for _name, _method in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    for _op in (getattr(operator, _name), getattr(operator, "i" + _name)):
        register_operator(
            _op, 2, lambda b, x, y, method=_method: getattr(b, method)(x, y, flags=("contract",))
        )
for _name, _sign in (("lt", "<"), ("gt", ">"), ("le", "<="), ("ge", ">="), ("eq", "==")):
    register_operator(
        getattr(operator, _name), 2, lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y), True
    )
register_operator(operator.neg, 1, lambda b, x: b.fneg(x))
register_operator(abs, 1, call_llvm("fabs"))
register_operator(math.sqrt, 1, call_llvm("sqrt"))


for _op, _method in ((operator.and_, "and_"), (operator.or_, "or_")):

    @infer_global(_op)
    class _MaskTyping(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], MaskType) and args[0] == args[1]:
                return signature(args[0], *args)

    lower_builtin(_op, MaskType, MaskType)(
        lambda context, builder, sig, args, method=_method: getattr(builder, method)(*args)
    )


# ---- broadcast, select, flip, any ----------------------------------------------------------------


@intrinsic
def broadcast(typing_context, number, pack):
    """Return a number in all lanes of a pack."""

    def codegen(context, builder, sig, args):
        return as_vector(context, builder, pack, number, args[0])

    return pack(number, pack), codegen


@intrinsic
def select(typing_context, condition, a, b):
    """Choose between packs, or numbers, lane by lane."""
    pack = next(p for p in PACKS.values() if p.lanes == condition.lanes)

    def codegen(context, builder, sig, args):
        x, y = (as_vector(context, builder, pack, t, v) for t, v in zip(sig.args[1:], args[1:]))
        return builder.select(args[0], x, y)

    return pack(condition, a, b), codegen


@intrinsic
def select_mask(typing_context, condition, a, b):
    """Choose between masks lane by lane."""
    return condition(condition, a, b), lambda c, builder, s, args: builder.select(*args)


@intrinsic
def flip(typing_context, mask):
    """Negate a mask."""
    return mask(mask), lambda context, builder, sig, args: builder.not_(args[0])


@intrinsic
def any_of(typing_context, mask):
    """Say whether any lane of a mask is set."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), codegen


# ---- arrays of packs -----------------------------------------------------------------------------


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


# ---- neighbours as lanes -------------------------------------------------------------------------
#
# Where elements are floats, the lanes of a pack can be neighbours in one problem's row.


def _load_pack(context, builder, array, value, index):
    """Load the entries of a contiguous float array from an index on."""
    vector = vector_type(PACKS[array.dtype])
    view = arrayobj.make_array(array)(context, builder, value)
    first = cgutils.get_item_pointer(context, builder, array, view, index)
    pointer = builder.bitcast(first, vector.as_pointer())
    return builder.load(pointer, align=array.dtype.bitwidth // 8)


@intrinsic
def pack_of_vector(typing_context, vector, k):
    """Return the entries of a float vector from k on as a pack."""

    def codegen(context, builder, sig, args):
        index = [context.cast(builder, args[1], sig.args[1], types.intp)]
        return _load_pack(context, builder, vector, args[0], index)

    return PACKS[vector.dtype](vector, k), codegen


@intrinsic
def pack_of_row(typing_context, matrix, i, k):
    """Return the entries of row i of a float matrix from column k on as a pack."""

    def codegen(context, builder, sig, args):
        index = [context.cast(builder, args[a], sig.args[a], types.intp) for a in (1, 2)]
        return _load_pack(context, builder, matrix, args[0], index)

    return PACKS[matrix.dtype](matrix, i, k), codegen


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
