"""How a GPU counts: the `range` of its kernels, in 32 bits and without a sign.

Numba's range divides by the step to know its rounds in advance, in 64 bits and in software where
the step is the width of a team, checks that it is not zero, and lets its numbers be negative: an
index that might be counts from the end, so that every element wants the size of its array. On a GPU
a loop over a vector began with some eighty instructions and had 25 in each round.

Indices and sizes of the kernels are between zero and 2**31, and a step that is not written out is
positive. With that a loop is a comparison and an addition.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.imputils import RefType, impl_ret_untracked, iternext_impl
from numba.extending import intrinsic, lower_builtin, overload, register_model


class CountIterator(types.SimpleIteratorType):
    """Where a loop is."""

    def __init__(self, up: bool) -> None:
        self.up = up
        super().__init__(f"CountIterator({up})", types.int64)


class Count(types.SimpleIterableType):
    """Numbers from a start to before a stop, up or down, by a step."""

    def __init__(self, up: bool) -> None:
        super().__init__(f"Count({up})", CountIterator(up))


FIELDS = [(name, types.int32) for name in ("start", "stop", "step")]


@register_model(Count)
class CountModel(models.StructModel):
    """Three numbers."""

    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, FIELDS)


@register_model(CountIterator)
class CountIteratorModel(models.StructModel):
    """The next number lies in memory, which LLVM turns into a register."""

    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, [("next", types.EphemeralPointer(types.int32)), *FIELDS[1:]])


def count_of(up: bool) -> Any:
    """What makes a Count."""

    @intrinsic
    def count(typing_context, start, stop, step):
        def codegen(context, builder, signature, arguments):
            made = cgutils.create_struct_proxy(Count(up))(context, builder)
            given = zip(FIELDS, arguments, signature.args, strict=True)
            for (name, kept), number, kind in given:
                setattr(made, name, context.cast(builder, number, kind, kept))
            return made._getvalue()

        return Count(up)(start, stop, step), codegen

    return count


count_up, count_down = count_of(True), count_of(False)


@lower_builtin("getiter", Count)
def begin(context, builder, signature, arguments):
    """Before the first number."""
    count = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
    at = cgutils.create_struct_proxy(signature.return_type)(context, builder)
    at.next = cgutils.alloca_once_value(builder, count.start)
    at.stop, at.step = count.stop, count.step
    return impl_ret_untracked(context, builder, signature.return_type, at._getvalue())


@iternext_impl(RefType.UNTRACKED)
def advance(context, builder, signature, arguments, result):
    """The next number, which is not negative, if there is one.

    Where the loop ends it goes on counting, which nobody sees: that is an instruction less.
    """
    (iterator,) = signature.args
    at = cgutils.create_struct_proxy(iterator)(context, builder, arguments[0])
    number = builder.load(at.next)
    valid = builder.icmp_signed("<" if iterator.up else ">", number, at.stop)
    result.set_valid(valid)
    with builder.if_then(valid):
        result.yield_(builder.zext(number, ir.IntType(64)))
    builder.store(builder.add(number, at.step), at.next)


# numba-cuda takes over what is not Numba's own, by the module; Numba's wrapper says it is.
advance.__module__ = __name__
lower_builtin("iternext", CountIterator)(advance)


def counted(start: Any, stop: Any = None, step: Any = 1) -> Any:
    """Python's `range`, of numbers that are not negative."""
    return range(start) if stop is None else range(start, stop, step)


@overload(counted, prefer_literal=True)
def _counted(start, stop=None, step=1):
    if stop is None or isinstance(stop, types.NoneType | types.Omitted):
        return lambda start, stop=None, step=1: count_up(0, start, 1)
    if isinstance(step, types.IntegerLiteral) and step.literal_value < 0:
        return lambda start, stop=None, step=1: count_down(start, stop, step)
    return lambda start, stop=None, step=1: count_up(start, stop, step)


def counting(function: FunctionType) -> FunctionType:
    """The same function, which counts in this way; Numba lets nobody replace `range` itself."""
    code, scope = function.__code__, {**function.__globals__, "counted": counted}
    names = tuple("counted" if name == "range" else name for name in code.co_names)
    code = code.replace(co_names=names)
    return FunctionType(code, scope, function.__name__, function.__defaults__)
