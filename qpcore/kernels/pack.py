"""Packs: vectors of numbers that belong to different problems, as a type of Numba's.

A *pack* is one LLVM vector of 64 bytes, eight float64 or sixteen float32, each lane another
problem's number. It has the arithmetic operators, `abs`, `math.sqrt`, comparisons that give a
*mask* and the operators of masks. Arrays of packs, in packed.py, index like ordinary arrays.
"""

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

PACK_BYTES = 64

# ---- types ---------------------------------------------------------------------------------------


class PackType(types.Type):
    """Lanes of one floating-point type that belong to different problems; or a few neighbours."""

    def __init__(self, dtype, lanes):
        self.dtype = dtype
        self.lanes = lanes
        self.bitwidth = lanes * dtype.bitwidth  # asked for by Numba's array type
        super().__init__(name=f"pack{lanes}x{dtype}")


class MaskType(types.Type):
    """The result of comparing packs: one bit a lane."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(name=f"mask{lanes}")


PACKS = {t: PackType(t, 8 * PACK_BYTES // t.bitwidth) for t in (types.float64, types.float32)}
QUADS = {t: PackType(t, 4) for t in PACKS}


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
