"""solve and vjp of CUDA arrays, where they lie and on the caller's stream.

Nothing here waits for the GPU, unless the caller asks for what only the host can do: `throw`. What
the launch needs beside the caller's arrays (absent arguments, indices of entries) is sent when it
is first needed and then kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from qpcore.errors import ProblemError
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import NOTES, Data, Sizes
from qpcore.libraries import library_of
from qpcore.problem import CORE_AXES, NO_LIMIT, Problem, layout
from qpcore.settings import Settings
from qpcore.stages import stages_of

DTYPES = {"float64": np.dtype(np.float64), "float32": np.dtype(np.float32)}


def problem_of(values: dict[str, Any]) -> Problem:
    """The problem that CUDA arrays pose; checked by shape, without a look at the values."""
    values = {name: value for name, value in values.items() if value is not None}
    like = next(v for v in values.values() if hasattr(v, "shape"))
    library, arrays = library_of(like), {}
    for name, value in values.items():
        if name in NO_LIMIT and isinstance(value, (int, float)):
            value = filled(library, float(value))
        if type(value) is not type(like) or library.device(value) != library.device(like):
            raise ProblemError(
                f"{name} is a {type(value).__name__}, which is not where the others are; expected "
                "all arrays on one CUDA device and of one library. Usual cause: an argument that "
                "was left on the CPU."
            )
        if dtype_name(value) != dtype_name(like) or dtype_name(value) not in DTYPES:
            raise ProblemError(
                f"{name} has dtype {value.dtype}; expected all float64 or all float32 on CUDA."
            )
        arrays[name] = value
    cores, batch_shape = layout(arrays)
    fields: dict[str, Any] = dict.fromkeys(CORE_AXES)
    for name, array in arrays.items():
        if 0 not in cores[name]:
            fields[name] = library.contiguous(once(array, cores[name]))
    shapes = {name: tuple(a.shape) for name, a in arrays.items() if fields[name] is not None}
    return Problem(**fields, batch_shape=batch_shape, given_shapes=shapes)


def filled(library: Any, value: float) -> Any:
    """One number as an array without axes."""
    array = library.empty((), dtype_name(library.like))
    array.fill_(value) if hasattr(array, "fill_") else array.fill(value)
    return array


def dtype_name(array: Any) -> str:
    """NumPy's name of a dtype; torch says torch.float64."""
    return str(array.dtype).rpartition(".")[2]


def once(array: Any, core: tuple[int, ...]) -> Any:
    """One entry of each batch axis along which nothing varies; a number is spread to `core`."""
    if array.ndim == 0:
        array = array.reshape(1)
        return array.expand(core) if hasattr(array, "expand") else array.repeat(core[0])
    strides = array.stride() if callable(getattr(array, "stride", None)) else array.strides
    batch = array.shape[: array.ndim - len(core)]
    if not any(stride == 0 and size > 1 for stride, size in zip(strides, batch, strict=False)):
        return array
    pairs = zip(strides, batch, strict=False)
    return array[tuple(slice(1) if stride == 0 else slice(None) for stride, _ in pairs)]


def solve(gpu: Any, problem: Problem, sizes: Sizes, settings: Settings) -> dict[str, Any]:
    """Answers and outcomes, arrays of the caller's library, in the shape of the batch."""
    library, batch = library_of(problem.Q), problem.batch_size
    dtype = DTYPES[dtype_name(problem.Q)]
    stages = stages_of(dtype, settings.tolerance(dtype), int(settings.max_iterations))
    lengths = {"x": sizes.n, "z": sizes.m, "y": sizes.p, "z_box": sizes.n}
    with gpu.on_device(library.device(problem.Q)) as number:
        found = {name: library.empty((batch, k), dtype) for name, k in lengths.items()}
        found["status"] = library.empty((batch,), np.int8)
        found["iterations"] = library.empty((batch,), np.int32)
        views = {name: gpu.view(array) for name, array in found.items()}
        trace = kept(gpu, number, "trace", (batch, 0, NOTES), dtype)
        gpu.launch_solve(
            data_of(gpu, number, problem, dtype),
            Result(**views, trace=trace),
            sizes,
            stages,
            gpu.stream_of(library.stream()),
            lambda shape: gpu.view(library.empty(shape, dtype)),
        )
    shape = problem.batch_shape
    return {name: array.reshape((*shape, *array.shape[1:])) for name, array in found.items()}


def adjoint(
    gpu: Any, problem: Problem, sizes: Sizes, settings: Settings, answer: Vectors, right: Vectors
) -> Vectors:
    """The solution of the adjoint systems, (batch, ·) arrays like `answer` and `right`."""
    library, dtype = library_of(problem.Q), DTYPES[dtype_name(problem.Q)]
    stages = stages_of(dtype, settings.tolerance(dtype), int(settings.max_iterations))
    with gpu.on_device(library.device(problem.Q)) as number:
        found = Vectors(*(library.empty(tuple(v.shape), dtype) for v in answer))
        at, cotangents, places = (
            Vectors(*(gpu.view(library.contiguous(v)) for v in vectors))
            for vectors in (answer, right, found)
        )
        gpu.launch_adjoint(
            data_of(gpu, number, problem, dtype),
            at,
            cotangents,
            places,
            sizes,
            stages[0],
            gpu.stream_of(library.stream()),
            lambda shape: gpu.view(library.empty(shape, dtype)),
        )
    return found


def data_of(gpu: Any, number: int, problem: Problem, dtype: np.dtype) -> Data:
    """The problem as the driver takes it."""
    arrays, leads = [], []
    for name, axes in CORE_AXES.items():
        array = getattr(problem, name)
        core = tuple({"n": problem.n, "m": problem.m, "p": problem.p}[axis] for axis in axes)
        lead = () if array is None else tuple(array.shape[: array.ndim - len(core)])
        leads.append(lead)
        if array is None:
            arrays.append(kept(gpu, number, name, (1, *core), dtype))
        else:
            arrays.append(gpu.view(array.reshape((int(np.prod(lead)), *core))))
    return Data._make([*arrays, entries(gpu, number, tuple(leads), problem.batch_shape)])


@lru_cache(maxsize=256)
def kept(gpu: Any, number: int, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """An absent argument on the device: limits at infinity, zeros, or nothing."""
    return gpu.cuda.to_device(np.full(shape, NO_LIMIT.get(name, 0.0), dtype))


@lru_cache(maxsize=256)
def entries(gpu: Any, number: int, leads: tuple, batch_shape: tuple[int, ...]) -> Any:
    """Which row of each argument a problem uses, on the device."""
    rows = np.empty((len(leads), int(np.prod(batch_shape))), np.int64)
    for row, lead in zip(rows, leads, strict=True):
        index = np.arange(int(np.prod(lead)), dtype=np.int64).reshape(lead)
        row[:] = np.broadcast_to(index, batch_shape).reshape(-1)
    return gpu.cuda.to_device(rows)


# ---- gradients -----------------------------------------------------------------------------------

# In the arithmetic that torch and CuPy share, as `gradients.py` does it for NumPy.


def usable(problem: Problem, answer: Vectors, right: dict[str, Any], status: Any) -> tuple:
    """Answers with zeros in failed problems, cotangents as (batch, ·) arrays, and who failed.

    Raises
    ------
    ProblemError
        A cotangent has another shape, or the library has no arithmetic.
    """
    module, batch = library_of(problem.Q).module, problem.batch_size
    if not hasattr(module, "where"):
        raise ProblemError("Numba's device arrays have no arithmetic; use torch or CuPy for vjp.")
    for name, value in right.items():
        like = getattr(answer, name)
        if value is not None and tuple(value.shape) != tuple(like.shape):
            raise ProblemError(
                f"d{name} has shape {tuple(value.shape)}; expected {tuple(like.shape)}, that of "
                f"solution.{name}."
            )
    failed = ((status != 0) & (status != 1)).reshape((batch, 1))
    flat = [v.reshape((batch, v.shape[-1])) for v in answer]
    at = Vectors(*(module.where(failed, module.zeros_like(v), v) for v in flat))
    cotangents = [
        module.zeros_like(v) if right[name] is None else right[name].reshape(v.shape)
        for name, v in zip(Vectors._fields, flat, strict=True)
    ]
    return at, Vectors(*cotangents), failed


def spoiled(module: Any, d: Vectors, right: Vectors, failed: Any) -> Vectors:
    """In failed problems NaN, or zero where their cotangents are all zero."""
    touched = sum((v != 0).sum(-1).reshape((len(v), 1)) for v in right) > 0
    blanks = [module.zeros_like(v) for v in d]
    blanks = [module.where(touched, blank + float("nan"), blank) for blank in blanks]
    return Vectors(*(module.where(failed, blank, v) for blank, v in zip(blanks, d, strict=True)))


def gradients(problem: Problem, at: Vectors, d: Vectors) -> dict[str, Any]:
    """Gradients of the arguments that were given (14), in their shapes."""
    x, z, y, z_box = at
    matrices = {
        "Q": (d.x / 2, x, x / 2, d.x),
        "G": (z, d.x, d.z, x),
        "A": (y, d.x, d.y, x),
    }
    vectors = {
        "q": d.x,
        "b": -d.y,
        "h": -d.z * (z >= 0),
        "h_lower": -d.z * (z < 0),
        "ub": -d.z_box * (z_box >= 0),
        "lb": -d.z_box * (z_box < 0),
    }
    found = {
        name: matrix_gradient(problem, name, *parts)
        for name, parts in matrices.items()
        if name in problem.given_shapes
    }
    for name, vector in vectors.items():
        if name in problem.given_shapes:
            found[name] = summed(problem, name, vector)
    return found


def matrix_gradient(problem: Problem, name: str, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The sum of a bᵀ + c dᵀ over the problems that share the matrix; one product if all do."""
    shape = problem.given_shapes[name]
    if np.prod(shape[:-2]) == 1:
        return (a.T @ b + c.T @ d).reshape(shape)
    return summed(problem, name, a[:, :, None] * b[:, None, :] + c[:, :, None] * d[:, None, :])


def summed(problem: Problem, name: str, each: Any) -> Any:
    """Gradients of each problem, summed over those that share an argument."""
    shape = problem.given_shapes[name]
    if not shape:
        return each.sum().reshape(())
    batch, core = problem.batch_shape, tuple(each.shape[1:])
    lead = (1,) * (len(batch) + len(core) - len(shape)) + shape[: len(shape) - len(core)]
    each = each.reshape((*batch, *core))
    for axis in reversed(range(len(batch))):
        if lead[axis] == 1 and batch[axis] != 1:
            each = each.sum(axis)
    return each.reshape(shape)
