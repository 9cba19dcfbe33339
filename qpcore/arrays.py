"""One argument: read as an array, typed, stripped of axes along which nothing varies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from qpcore.errors import ProblemError

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)

_CPU = 1  # kDLCPU of the DLPack standard
_DTYPE_CAUSES = {
    "f": "half or extended precision; convert with .astype(np.float32) or .astype(np.float64)",
    "c": "a complex intermediate; take .real if its imaginary part is rounding",
    "O": "None inside a list, or a sparse matrix, which .toarray() makes dense",
}


Kind = TypeVar("Kind")


def made(kind: type[Kind], fields: dict[str, Any]) -> Kind:
    """An instance of a frozen dataclass, which takes over a dictionary of all its fields.

    Its own __init__ sets them one by one past the guard, which takes four times as long: with that
    of Problem and that of Solution a tenth of a solve of one problem.
    """
    instance = object.__new__(kind)
    object.__setattr__(instance, "__dict__", fields)
    return instance


class once(Generic[Kind]):
    """A property that is found once, and then is an attribute like others.

    As functools.cached_property, which before Python 3.12 had a lock: a forked child would wait for
    ever if another thread held it then.
    """

    def __init__(self, find: Callable[[Any], Kind]) -> None:
        self.find, self.name, self.__doc__ = find, find.__name__, find.__doc__

    def __get__(self, instance: Any, _: type | None = None) -> Kind:
        found = instance.__dict__[self.name] = self.find(instance)
        return found


def as_array(name: str, value: Any) -> np.ndarray:
    """View a value as a NumPy array of a real dtype, without a copy where that is possible.

    Raises
    ------
    ProblemError
        The value is no CPU array of bool, integers, float32 or float64.
    """
    if type(value) is np.ndarray and value.dtype.char in "df":  # the usual case, at once
        return value
    try:
        if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
            array = _from_dlpack(name, value)
        else:
            array = np.asarray(value)
    except ProblemError:
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ProblemError(
            f"{name} is a {type(value).__name__} that NumPy cannot read ({error}); expected an "
            "array of numbers. Usual cause: rows of unequal length, a tensor that needs .detach(), "
            "or a dtype such as bfloat16."
        ) from error
    half_or_extended = array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8)
    if array.dtype.kind not in "biuf" or half_or_extended:
        cause = _DTYPE_CAUSES.get(array.dtype.kind, "an argument in the wrong place")
        raise ProblemError(
            f"{name} has dtype {array.dtype}; expected float64 or float32 (integers become "
            f"float64). Usual cause: {cause}."
        )
    return array


def _from_dlpack(name: str, value: Any) -> np.ndarray:
    """View a CPU array of another library."""
    device = int(value.__dlpack_device__()[0])
    if device != _CPU:
        raise ProblemError(
            f"{name} is a {type(value).__name__} on DLPack device type {device}; expected CPU "
            "memory. Usual cause: arguments on different devices; move all of them to one."
        )
    return np.from_dlpack(value)


def common_dtype(given: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> np.dtype:
    """NumPy's result type of the floating arrays, made of what was given; float64 without any.

    Python numbers have no say, as in NumPy itself: ``lb=0.0`` keeps a float32 problem float32.
    """
    for array in arrays.values():
        if array.dtype is not F64:
            break
    else:  # the usual case, at once
        return F64
    floating = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    widths = [arrays[name].itemsize for name in floating if type(given[name]) is not float]
    return F32 if widths and max(widths) == 4 else F64


def compact(array: np.ndarray, core: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Keep one entry of each batch axis along which nothing varies.

    The last axes become `core`, to which a single number is spread. The result is C-contiguous,
    of the given dtype and read-only; it is a view wherever no conversion is needed.
    """
    axes = array.ndim - len(core)
    if axes < 0:  # a single number
        array = np.broadcast_to(array, core)
    elif axes and 0 in array.strides[:axes]:
        batch = zip(array.shape[:axes], array.strides[:axes], strict=True)
        once = [slice(1) if size > 1 and stride == 0 else slice(None) for size, stride in batch]
        array = array[tuple(once)]
    if array.dtype != dtype:
        with np.errstate(over="ignore"):  # a number beyond float32 becomes inf: no limit either
            array = array.astype(dtype)
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = np.require(array, None, ["C_CONTIGUOUS", "ALIGNED"])
    array = array.view()
    array.setflags(write=False)
    return array
