"""The GPU driver: a batch in one launch. Plain arrays in, plain arrays out; needs numba-cuda.

`solve` and `adjoint` take NumPy arrays there and back; `launch_solve` and `launch_adjoint` take
arrays that lie on the device, on a stream, and wait for nothing.
"""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numba import cuda

from qpcore.blocks import KERNELS
from qpcore.compilation import announced, source_stamp
from qpcore.kernels.adjoint import Derivative, Rules
from qpcore.kernels.ipm import REAL, WHOLE, Parameters
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import Data, Sizes
from qpcore.phases import keep_all_apart
from qpcore.plans import UNASKED, Device, plan
from qpcore.rooms import empty_derivative, empty_result

# What goes into compiled code beside the kernels.
SOURCES = "blocks.py", "counting.py", "instead.py", "notes.py", "phases.py", "plans.py"

# The share of the device's free memory that a part of a NumPy batch may take.
SHARE_OF_FREE = 0.5

# ---- on the device -------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def described(number: int) -> Device:
    """The current device, whose number this is; the simulator has one small multiprocessor."""
    device = cuda.current_context().device
    return Device(
        getattr(device, "MULTIPROCESSOR_COUNT", 1),
        getattr(device, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", UNASKED),
    )


def launch_solve(
    data: Data,
    result: Result,
    sizes: Sizes,
    stages: Sequence[Parameters],
    stream: Any = 0,
    workspace: Any = None,
) -> None:
    """Solve a batch into `result`: one launch on the current device, without waiting for it.

    All arrays lie on the device and are contiguous. `workspace(shape)` allocates global memory
    where that is needed, in the order of the stream; None takes Numba's.
    """
    numbers = stages_on_device(current(), tuple(stages))
    traced = result.trace.shape[1]
    launch("solve", (data, result), data, sizes, numbers, traced, stream, workspace)


def launch_adjoint(
    data: Data,
    answer: Vectors,
    cotangents: Vectors,
    derivative: Derivative,
    sizes: Sizes,
    rules: Rules,
    stream: Any = 0,
    workspace: Any = None,
) -> None:
    """Solve the adjoint systems of a batch into `derivative`, as `launch_solve` does."""
    arrays = data, answer, cotangents, derivative
    launch("differentiate", arrays, data, sizes, (rules,), 0, stream, workspace)


def current() -> int:
    """Number of the current device; the simulator's has none."""
    return getattr(cuda.current_context().device, "id", 0)


@contextmanager
def on_device(number: int) -> Iterator[int]:
    """Make a device the current one for a while."""
    with cuda.gpus[number]:
        yield number


def stream_of(handle: int) -> Any:
    """Another library's stream; 0 is the default stream everywhere."""
    return cuda.external_stream(handle) if handle else 0


def view(array: Any) -> Any:
    """Another library's array as Numba's, without a copy and without waiting for its stream."""
    if 0 in array.shape:  # has no address
        return cuda.device_array(tuple(array.shape), str(array.dtype).rpartition(".")[2])
    if hasattr(array, "__cuda_ndarray__"):
        return array
    return cuda.as_cuda_array(array, sync=False)


def launch(
    task: str,
    arrays: tuple,
    data: Data,
    sizes: Sizes,
    numbers: tuple,
    traced: int,
    stream: Any,
    workspace: Any,
) -> None:
    """Choose a kernel and launch it; nothing to do for an empty batch."""
    if not data.entry.shape[1]:
        return
    number = current()
    chosen = plan(data, sizes, traced, described(number))
    memory = ()
    if not chosen.fits:
        shape = chosen.grid, chosen.elements
        memory = (workspace(shape) if workspace else cuda.device_array(shape, data.q.dtype),)
    arguments = *arrays, *memory, plain(sizes), *numbers
    kernel = compiled(task, chosen.fits)
    with announced((f"{task} on the GPU", str(data.q.dtype), "shared" if chosen.fits else "")):
        permit(kernel, number, chosen.shared, arguments)
        kernel[chosen.grid, chosen.threads, stream, chosen.shared](*arguments)


def plain(sizes: Sizes) -> Sizes:
    """Sizes as Python's own integers, of which Numba knows one type."""
    first, last = (tuple(map(int, pair)) for pair in (sizes.first, sizes.last))
    return Sizes(*map(int, sizes[:4]), first, last)


@lru_cache(maxsize=64)
def stages_on_device(number: int, stages: tuple[Parameters, ...]) -> tuple[Any, Any]:
    """Parameters of all stages, whole numbers and real ones, a row a stage; kept on the device."""
    whole = np.array([stage[: len(WHOLE)] for stage in stages], np.int64)
    dtype = type(stages[0].tol)
    real = np.array([stage[len(WHOLE) :] for stage in stages], dtype)
    assert real.shape[1] == len(REAL)
    return cuda.to_device(whole), cuda.to_device(real)


@lru_cache(maxsize=8)
def compiled(task: str, shared: bool) -> Any:
    """A kernel, compiled when it is first launched and then kept on disk."""
    keep_all_apart()
    kernel = cuda.jit(KERNELS[task, shared], cache=True)
    cache = getattr(kernel, "_cache", None)  # the simulator has none
    if cache is not None:  # as in `compilation.compiled`: a change of any kernel counts
        cache._cache_file._source_stamp = source_stamp(*SOURCES)
    return kernel


_permitted: dict[tuple, int] = {}


def permit(kernel: Any, number: int, shared: int, arguments: tuple) -> None:
    """Ask for dynamic shared memory beyond what a kernel may have unasked."""
    if shared <= UNASKED or not hasattr(kernel, "typeof_pyval"):
        return
    signature = tuple(kernel.typeof_pyval(argument) for argument in arguments)
    key = id(kernel), number, signature
    if _permitted.get(key, 0) >= shared:
        return
    from cuda.bindings import driver

    handle = kernel.compile(signature)._codelibrary.get_cufunc().handle
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    (error,) = driver.cuKernelSetAttribute(attribute, shared, handle, number)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"The driver refuses {shared} bytes of shared memory: {error.name}")
    _permitted[key] = shared


# ---- NumPy arrays, there and back ----------------------------------------------------------------


def solve(data: Data, sizes: Sizes, stages: Sequence[Parameters], trace: bool = False) -> Result:
    """Solve a batch of NumPy arrays on the current device, in parts that fit into its memory."""
    batch, traced = data.entry.shape[1], stages[0].max_iterations + 1 if trace else 0
    result = empty_result(batch, sizes, data.Q.dtype, traced)
    for start, stop in parts(data, result, memory_free()):
        given = to_device(portion(data, start, stop))
        piece = Result(*(array[start:stop] for array in result))
        found = room_for(piece)
        launch_solve(given, found, sizes, stages)
        bring_back(found, piece)
    return result


def adjoint(
    data: Data, sizes: Sizes, rules: Rules, answer: Vectors, cotangents: Vectors
) -> Derivative:
    """Solve the adjoint system of every problem of a batch of NumPy arrays."""
    out = empty_derivative(data.entry.shape[1], sizes, data.Q.dtype)
    whole = [*answer, *cotangents, *out.adjoint, *out.answer, out.certificate]
    for start, stop in parts(data, whole, memory_free()):
        at, right, *pieces = (
            Vectors(*(v[start:stop] for v in vectors))
            for vectors in (answer, cotangents, out.adjoint, out.answer)
        )
        place = Derivative(*pieces, out.certificate[start:stop])
        given, found = to_device(portion(data, start, stop)), room_for(place)
        launch_adjoint(given, to_device(at), to_device(right), found, sizes, rules)
        bring_back(found, place)
    return out


def memory_free() -> float:
    """Bytes that a part may take."""
    return SHARE_OF_FREE * cuda.current_context().get_memory_info().free


def parts(data: Data, others: Sequence[np.ndarray], budget: float) -> Iterator[tuple[int, int]]:
    """Ranges of problems whose own arrays stay within a budget of bytes; at least one problem."""
    batch = data.entry.shape[1]
    own = [*others, *(v for v in data[:-1] if len(v) > 1)]
    bytes_each = data.entry.nbytes / max(1, batch) + sum(v.nbytes / len(v) for v in own if len(v))
    count = max(1, int(min(batch, budget // bytes_each)))
    for start in range(0, batch, count):
        yield start, min(start + count, batch)


def portion(data: Data, start: int, stop: int) -> Data:
    """Some problems: of each argument the entries from the first to the last that they use."""
    entry = data.entry[:, start:stop]
    lowest, highest = entry.min(axis=1), entry.max(axis=1)
    arrays = [v[a : b + 1] for v, a, b in zip(data[:-1], lowest, highest, strict=True)]
    return Data(*arrays, entry - lowest[:, None])


def to_device(arrays: Any) -> Any:
    """The same arrays on the device."""
    return type(arrays)._make(cuda.to_device(np.ascontiguousarray(v)) for v in arrays)


def room_for(arrays: Any) -> Any:
    """Arrays of these shapes on the device; namedtuples of arrays stay what they are."""
    if isinstance(arrays, tuple):
        return type(arrays)._make(map(room_for, arrays))
    return cuda.device_array(arrays.shape, arrays.dtype)


def bring_back(found: Any, places: Any) -> None:
    """Copy what was found to where it belongs; waits for it."""
    if isinstance(places, tuple):
        for part, place in zip(found, places, strict=True):
            bring_back(part, place)
    elif places.size:
        found.copy_to_host(places)
