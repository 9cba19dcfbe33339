"""What a GPU does instead of some of the kernels' own small functions. Needs numba-cuda.

They do the same on a CPU by other instructions, which the simulator runs too; `phases.py` puts
these in their place.
"""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

from numba import cuda, types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np import arrayobj

from qpcore.kernels.machine import where
from qpcore.kernels.packed import as_matrix

# ---- carving -------------------------------------------------------------------------------------


@intrinsic
def divided(typing_context, memory, size):
    """Return memory[:size] and memory[size:] for a size that is within it.

    A slice is clipped to its array, by some fifteen instructions; for the sixty arrays of a
    workspace, each of which begins where another ends, every phase began with nine hundred.
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
            parts.append(part._getvalue())
        return context.make_tuple(builder, signature.return_type, parts)

    return types.UniTuple(memory, 2)(memory, size), codegen


def vector(memory, size):
    """A vector and the memory behind it."""
    return divided(memory, size)


def matrix(memory, rows, columns):
    """A matrix and the memory behind it."""
    numbers, rest = divided(memory, rows * columns)
    return as_matrix(numbers, rows, columns), rest


# ---- pivots --------------------------------------------------------------------------------------


def per_root(number):
    """1/sqrt(number) to the last digit or two."""
    return 1 / number**0.5


@overload(per_root, target="cuda")
def _per_root(number):
    if number == types.float32:
        return lambda number: cuda.libdevice.rsqrtf(number)
    return lambda number: cuda.libdevice.rsqrt(number)


def inverse_root(pivot, floor):
    """What `factor.inverse_root` is; there half of a pivot's time is a root and a division."""
    return per_root(where(pivot < floor, floor, pivot))
