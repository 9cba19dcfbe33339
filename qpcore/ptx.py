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
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import Data, Sizes


class Needs(NamedTuple):
    """What a kernel takes of a GPU."""

    registers: int
    """of each thread"""
    stack: int
    """bytes of local memory of each thread, for calls and what registers cannot hold"""
    spilled: int
    """bytes written to the stack for want of registers, at all places in the code together"""
    shared: int
    """bytes of static shared memory of a block"""


def compile_ptx(task: str, shared: bool, dtype: Any, cc: tuple[int, int]) -> str:
    """PTX of a kernel of `blocks.KERNELS` for a compute capability."""
    with assumed_device(cc):
        kernel = KERNELS[task, shared]
        ptx, _ = cuda.compile_ptx(kernel, signature(task, shared, dtype), cc=cc)
    return ptx


def link(ptx: str, cc: tuple[int, int]) -> tuple[bytes, Needs]:
    """Machine code of PTX, by nvJitLink, and what it needs."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=f"sm_{cc[0]}{cc[1]}", ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    cubin = bytes(linker.link("cubin").code)
    return cubin, needs(ptx, linker.get_info_log() + linker.get_error_log())


def needs(ptx: str, log: str) -> Needs:
    """What ptxas says in its log about the one kernel in it; it is silent on shared memory."""

    def largest(pattern: str) -> int:
        return max(map(int, re.findall(pattern, log)), default=0)

    return Needs(
        largest(r"Used (\d+) registers"),
        largest(r"(\d+) bytes (?:cumulative )?stack (?:size|frame)"),
        sum(map(int, re.findall(r"(\d+) bytes spill stores", log))),
        sum(map(int, re.findall(r"\.shared [^;]*\[(\d+)\];", ptx))),
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
    arrays = {"solve": (data, result), "differentiate": (data, vectors, vectors, vectors)}
    return tuple(named(fields) for fields in (*arrays[task], *memory, sizes, whole, matrix))


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
