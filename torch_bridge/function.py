"""What autograd must know of a QP: `qpcore.solve` forward, `qpcore.vjp` backward. No maths."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd import Function

import qpcore
from qpcore import ProblemError, Settings

ARGUMENTS = ("Q", "q", "G", "h", "A", "b", "lb", "ub", "h_lower")
OUTPUTS = ("x", "z", "y", "z_box", "status", "iterations")
SCALARS_ALLOWED = ("h", "h_lower", "lb", "ub")
"""Limits, for which one number may stand for all entries."""


class QPResult(NamedTuple):
    """Answers of `solve_qp`; ``*`` is the broadcast batch shape of the arguments."""

    x: torch.Tensor
    """(*, n), the minimisers."""
    z: torch.Tensor
    """(*, m), multipliers of G: >= 0 where Gx meets h, <= 0 where it meets h_lower."""
    y: torch.Tensor
    """(*, p), multipliers of Ax = b."""
    z_box: torch.Tensor
    """(*, n), multipliers of the bounds: >= 0 where x meets ub, <= 0 where it meets lb."""
    status: torch.Tensor
    """(*), int8, values of `qpcore.Status`; has no gradient."""
    iterations: torch.Tensor
    """(*), int32; has no gradient."""


def solve_qp(
    Q: torch.Tensor,
    q: torch.Tensor,
    G: torch.Tensor | None = None,
    h: torch.Tensor | float | None = None,
    A: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    lb: torch.Tensor | float | None = None,
    ub: torch.Tensor | float | None = None,
    *,
    h_lower: torch.Tensor | float | None = None,
    settings: Settings = Settings(),
    throw: bool = True,
) -> QPResult:
    r"""Solve a batch of convex QPs; all four variables of the answer can be differentiated.

    .. code-block:: text

        minimise    ½ xᵀQx + qᵀx
        subject to  h_lower ≤ Gx ≤ h,   Ax = b,   lb ≤ x ≤ ub

    Shapes are in the words of `torch.linalg`: ``*`` is zero or more batch dimensions, and those of
    all arguments are broadcast against each other. An argument without them, or with size 1, is
    shared: it is not copied per problem, and its gradient is the sum over the batch. An expanded
    tensor is not copied either, but autograd wants its gradient at full size: pass shared
    parameters unexpanded.

    CPU tensors go in and come out without a copy where they are contiguous. First derivatives by
    reverse mode only: a second derivative, forward mode and `torch.vmap` raise.

    Parameters
    ----------
    Q : torch.Tensor
        (*, n, n), positive semidefinite; only its symmetric part counts, also in its gradient.
    q : torch.Tensor
        (*, n).
    G : torch.Tensor, optional
        (*, m, n).
    h, h_lower : torch.Tensor or float, optional
        (*, m), upper and lower limits of Gx. A float holds for all rows; ±inf, or a magnitude of at
        least 1e20, drops that side.
    A, b : torch.Tensor, optional
        (*, p, n) and (*, p).
    lb, ub : torch.Tensor or float, optional
        (*, n), limits of x; floats and ±inf as for h.
    settings : qpcore.Settings
        Tolerance, iteration limit, threads.
    throw : bool
        Whether one unsolved problem is an error. If False, its status says what happened, and what
        has no meaning is NaN: select before you reduce, ``loss[status == Status.SOLVED].mean()``.
        The problems left out then add exactly zero to every gradient.

    Returns
    -------
    QPResult
        Named tuple (x, z, y, z_box, status, iterations), with Qx + q + Gᵀz + Aᵀy + z_box = 0.

    Raises
    ------
    qpcore.ProblemError
        An argument is of the wrong shape, dtype or device. All are float64, or all float32.
    qpcore.SolveError
        A problem was not solved and `throw` is True; attribute ``solution`` holds all results.

    Notes
    -----
    The gradient is that of the KKT conditions (Amos & Kolter 2017, arXiv 1703.00443, equations 6
    to 8). Where a constraint is active with multiplier zero the solution has a kink, and the
    gradient is one of several candidates.
    """
    given = {"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub, "h_lower": h_lower}
    arguments = [_checked(name, value, Q) for name, value in given.items()]
    return QPResult(*_Solve.apply(settings, throw, *arguments))


class _Solve(Function):
    """(problem) -> (x, z, y, z_box, status, iterations)."""

    @staticmethod
    def forward(settings: Settings, throw: bool, *arguments: torch.Tensor | None) -> tuple:
        problem = dict(zip(ARGUMENTS, map(_to_numpy, arguments), strict=True))
        solution = qpcore.solve(**problem, settings=settings, throw=throw)
        return tuple(torch.from_dlpack(getattr(solution, name)) for name in OUTPUTS)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.settings, _, *arguments = inputs
        # An output that the loss does not use has cotangent None instead of an array of zeros.
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[4:])
        # The tensors and not the Solution: so autograd notices if one has been changed in place.
        ctx.save_for_backward(*arguments, *output)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple:
        wanted = ctx.needs_input_grad[2:]
        gradients = _Adjoint.apply(ctx.settings, wanted, *cotangents[:4], *ctx.saved_tensors)
        return None, None, *gradients


class _Adjoint(Function):
    """(cotangents of x, z, y, z_box; problem; answers) -> gradients of the problem.

    The backward of `_Solve`, as a function of its own because `once_differentiable` would not do:
    with a loss linear in x it returns gradients without a graph, and a second derivative that also
    has other terms then lacks this one without a word.
    """

    @staticmethod
    def forward(
        settings: Settings, wanted: tuple[bool, ...], *tensors: torch.Tensor | None
    ) -> tuple:
        arrays = [_to_numpy(tensor) for tensor in tensors]
        cotangents, arguments, answers = arrays[:4], arrays[4:13], arrays[13:]
        solution = qpcore.Solution(
            problem=qpcore.Problem.parse(**dict(zip(ARGUMENTS, arguments, strict=True))),
            settings=settings,
            **dict(zip(OUTPUTS, answers, strict=True)),
        )
        gradients = qpcore.vjp(solution, *cotangents)
        found = [getattr(gradients, name) for name in ARGUMENTS]
        return tuple(
            torch.from_dlpack(gradient) if want and gradient is not None else None
            for gradient, want in zip(found, wanted, strict=True)
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple:
        raise NotImplementedError(
            "solve_qp has first derivatives only; this is the derivative of its gradient. "
            "Usual cause: create_graph=True, as in a gradient penalty or a Hessian. "
            "Detach the gradient if its own derivative may be dropped."
        )


def _checked(name: str, value: torch.Tensor | float | None, Q: torch.Tensor) -> torch.Tensor | None:
    """Return the argument as a CPU tensor of Q's dtype, a number as a 0-d one; else complain."""
    if value is None and name not in ("Q", "q"):
        return None
    if name in SCALARS_ALLOWED and isinstance(value, (int, float)) and not isinstance(value, bool):
        return torch.tensor(float(value), dtype=Q.dtype)
    if not isinstance(value, torch.Tensor):
        expected = "a torch.Tensor or a float" if name in SCALARS_ALLOWED else "a torch.Tensor"
        raise ProblemError(
            f"{name} is a {type(value).__name__}; expected {expected}. "
            "Usual cause: NumPy arrays or lists, which go to qpcore.solve."
        )
    if value.device.type != "cpu":
        raise ProblemError(
            f"{name} lies on {value.device}; expected the CPU. CUDA tensors come with the extra "
            f"qpcore[cuda] in a later version; until then {name}.cpu() lets gradients through."
        )
    if value.layout is not torch.strided:
        raise ProblemError(
            f"{name} has layout {value.layout}; expected a dense tensor; use {name}.to_dense()."
        )
    if value.dtype not in (torch.float64, torch.float32):
        raise ProblemError(
            f"{name} has dtype {value.dtype}; expected torch.float64 or torch.float32. "
            "Usual cause: integer data, or half precision from autocast."
        )
    if value.dtype != Q.dtype:
        raise ProblemError(
            f"{name} has dtype {value.dtype}; expected {Q.dtype}, the dtype of Q. "
            f"Usual cause: data from NumPy, float64, beside float32 parameters; use {name}.to(Q)."
        )
    return value


def _to_numpy(tensor: torch.Tensor | None) -> Any:
    """View a CPU tensor as an array: same memory, but for a lazy negation, which is carried out."""
    return None if tensor is None else np.from_dlpack(tensor.detach().resolve_neg())
