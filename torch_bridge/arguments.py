"""What `solve_qp` is given: names, checks at the door, and the dtype that autocast asks for."""

from __future__ import annotations

from functools import reduce

import torch

from qpcore import ProblemError

CORE_AXES = {"Q": 2, "q": 1, "G": 2, "h": 1, "A": 2, "b": 1, "lb": 1, "ub": 1, "h_lower": 1}
"""Arguments in the order of the bridge's functions, with the axes that are not batch axes."""

SCALARS_ALLOWED = ("h", "h_lower", "lb", "ub")
"""Limits, for which one number may stand for all entries."""

DTYPES = (torch.float64, torch.float32)
DEVICES = ("cpu", "cuda")

Given = dict[str, torch.Tensor | float | None]


def checked(given: Given) -> list[torch.Tensor | None]:
    """Return the arguments as tensors of Q's dtype on its device, a number as a 0-d one.

    Raises
    ------
    ProblemError
        An argument is something else.
    """
    Q = given["Q"]
    like = Q if isinstance(Q, torch.Tensor) else torch.empty((), dtype=torch.float64)
    return [_checked(name, value, like) for name, value in given.items()]


def device_type(Q: object) -> str:
    """The kind of device that decides whether autocast is on; the CPU for what is no tensor."""
    return Q.device.type if isinstance(Q, torch.Tensor) and Q.device.type in DEVICES else "cpu"


def autocast_dtypes(given: Given) -> tuple[torch.dtype, torch.dtype]:
    """Dtypes to compute in and to give back: the widest that is given, the former float32 or more.

    These hold inside an autocast region, whose matrix products hand bfloat16 to a layer that has
    float32 parameters.
    """
    tensors = (value for value in given.values() if isinstance(value, torch.Tensor))
    floating = [value.dtype for value in tensors if value.dtype.is_floating_point]
    widest = reduce(torch.promote_types, floating or [torch.float32])
    return torch.promote_types(widest, torch.float32), widest


def widened(given: Given, dtype: torch.dtype) -> Given:
    """The arguments with all floating tensors of one dtype."""
    return {
        name: value.to(dtype)
        if isinstance(value, torch.Tensor) and value.dtype.is_floating_point
        else value
        for name, value in given.items()
    }


def _checked(
    name: str, value: torch.Tensor | float | None, like: torch.Tensor
) -> torch.Tensor | None:
    dtype = like.dtype
    if value is None and name not in ("Q", "q"):
        return None
    if name in SCALARS_ALLOWED and isinstance(value, (int, float)) and not isinstance(value, bool):
        # Filled where it lies: nothing is copied to a GPU, which a captured graph could not hold.
        return torch.full((), float(value), dtype=dtype, device=like.device)
    if not isinstance(value, torch.Tensor):
        expected = "a torch.Tensor or a float" if name in SCALARS_ALLOWED else "a torch.Tensor"
        raise ProblemError(
            f"{name} is a {type(value).__name__}; expected {expected}. "
            "Usual cause: NumPy arrays or lists, which go to qpcore.solve."
        )
    if value.device.type not in DEVICES:
        raise ProblemError(
            f"{name} lies on {value.device}; expected the CPU or a CUDA device; {name}.cpu() lets "
            "gradients through."
        )
    if value.device != like.device:
        raise ProblemError(
            f"{name} lies on {value.device}; expected {like.device}, where Q is. Usual cause: an "
            f"argument that was left behind when a module moved; use {name}.to(Q)."
        )
    if value.layout is not torch.strided:
        raise ProblemError(
            f"{name} has layout {value.layout}; expected a dense tensor; use {name}.to_dense()."
        )
    if value.dtype not in DTYPES:
        raise ProblemError(
            f"{name} has dtype {value.dtype}; expected torch.float64 or torch.float32. "
            "Usual cause: integer data, or half precision outside an autocast region."
        )
    if value.dtype != dtype:
        raise ProblemError(
            f"{name} has dtype {value.dtype}; expected {dtype}, the dtype of Q. "
            f"Usual cause: data from NumPy, float64, beside float32 parameters; use {name}.to(Q)."
        )
    return value
