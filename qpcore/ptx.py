"""PTX of the GPU's kernels, and machine code with what it needs of a GPU; neither needs one."""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, types
from numba.np.numpy_support import from_dtype

from qpcore.blocks import KERNELS
from qpcore.kernels.adjoint import Derivative, Rules
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import Data, Sizes
from qpcore.phases import keep_all_apart


class Needs(NamedTuple):
    """What a kernel takes of a GPU."""

    registers: int
    """of each thread"""
    stack: int
    """bytes of local memory of each thread, at the deepest call"""
    spilled: int
    """bytes written to it, and read back, for want of registers, at all places in the code"""
    shared: int
    """bytes of static shared memory of a block"""


def compile_ptx(task: str, shared: bool, dtype: Any, cc: tuple[int, int]) -> str:
    """PTX of a kernel of `blocks.KERNELS` for a compute capability."""
    return compiled(task, shared, dtype, cc, "ptx")


def compile_ltoir(task: str, shared: bool, dtype: Any, cc: tuple[int, int]) -> bytes:
    """A kernel as `link` takes it, and as numba-cuda makes it for a launch."""
    return compiled(task, shared, dtype, cc, "ltoir")


def compiled(task: str, shared: bool, dtype: Any, cc: tuple[int, int], output: str) -> Any:
    """A kernel in one of numba-cuda's forms of output."""
    keep_all_apart()
    with assumed_device(cc):
        kernel, arguments = KERNELS[task, shared], signature(task, shared, dtype)
        found, _ = cuda.compile(kernel, arguments, device=False, cc=cc, output=output, abi="numba")
    return found


def link(ltoir: bytes, cc: tuple[int, int]) -> tuple[bytes, Needs]:
    """Machine code by nvJitLink, and what it needs; linked as numba-cuda does for a launch."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(
        arch=f"sm_{cc[0]}{cc[1]}", link_time_optimization=True, ptxas_options=["-v"]
    )
    linker = Linker(ObjectCode.from_ltoir(ltoir), options=options)
    cubin = bytes(linker.link("cubin").code)
    return cubin, needs(linker.get_info_log() + linker.get_error_log())


def needs(log: str) -> Needs:
    """What ptxas says in its log about a kernel and the functions that it calls."""

    def numbers(pattern: str) -> list[int]:
        return list(map(int, re.findall(pattern, log)))

    return Needs(
        max(numbers(r"Used (\d+) registers")),
        max(numbers(r"(\d+) bytes (?:cumulative )?stack (?:size|frame)"), default=0),
        sum(numbers(r"(\d+) bytes spill (?:stores|loads)")),
        max(numbers(r"(\d+) bytes smem"), default=0),
    )


def signature(task: str, shared: bool, dtype: Any) -> tuple:
    """Numba's types of a kernel's arguments; all arrays are contiguous and writable."""
    number = from_dtype(np.dtype(dtype))
    matrix = types.Array(number, 2, "C")
    stack = types.Array(number, 3, "C")
    whole = types.Array(types.int64, 2, "C")
    data = Data(stack, matrix, stack, matrix, stack, *4 * [matrix], whole)
    integers = (types.Array(types.int8, 1, "C"), types.Array(types.int32, 1, "C"))
    sides = types.UniTuple(types.int64, 2)
    sizes = Sizes(*4 * [types.int64], sides, sides)
    memory = () if shared else (matrix,)
    result, vectors = Result(*4 * [matrix], *integers, stack), Vectors(*4 * [matrix])
    derivative = Derivative(named(vectors), named(vectors), matrix)
    rules = Rules(*len(Rules._fields) * [number])
    arrays, numbers = {
        "solve": ((data, result), (whole, matrix)),
        "differentiate": ((data, vectors, vectors, derivative), (rules,)),
    }[task]
    return tuple(named(fields) for fields in (*arrays, *memory, sizes, *numbers))


def named(fields: Any) -> Any:
    """Numba's type of a namedtuple of types; a type as it is."""
    if not isinstance(fields, tuple):
        return fields
    same = len(set(fields)) == 1
    if same:
        return types.NamedUniTuple(fields[0], len(fields), type(fields))
    return types.NamedTuple(fields, type(fields))


@contextmanager
def assumed_device(cc: tuple[int, int]) -> Iterator[None]:
    """Let numba-cuda take this capability for the device's: it asks, for functions it can't inline.

    The answer only picks a default; what `cuda.compile_ptx` was asked for decides what comes out.
    """
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=cc)
    try:
        yield
    finally:
        dispatcher.get_current_device = asked
