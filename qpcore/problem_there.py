"""The problem that CUDA arrays pose: what `Problem.parse` does for NumPy, by shapes alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from qpcore.arguments import CORE_AXES, NO_LIMIT, layout
from qpcore.errors import ProblemError
from qpcore.libraries import library_of
from qpcore.problem import Problem

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
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    cores, batch_shape = layout(shapes)
    fields: dict[str, Any] = dict.fromkeys(CORE_AXES)
    for name, array in arrays.items():
        if 0 not in cores[name]:
            fields[name] = library.contiguous(once(array, cores[name]))
    given = {name: shape for name, shape in shapes.items() if fields[name] is not None}
    return Problem(**fields, batch_shape=batch_shape, given_shapes=given)


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
