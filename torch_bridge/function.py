"""`solve_qp`: a batch of QPs as one differentiable function of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.autograd import forward_ad

from qpcore import Settings
from torch_bridge.arguments import autocast_dtypes, checked, device_type, widened
from torch_bridge.autograd import Solve, trust_of
from torch_bridge.operators import encoded


class GradInfo(NamedTuple):
    """How far the gradients of a backward pass can be trusted; fields as in `qpcore.Trust`.

    NaN, and not trusted, in problems without an answer to differentiate.
    """

    margin: torch.Tensor
    """(*), 0 to 1: near zero, a constraint is active with multiplier zero; zero where x or the
    multipliers are not unique."""
    residual: torch.Tensor
    """(*), relative residual of the linear system behind the gradient."""
    condition: torch.Tensor
    """(*), how much that system enlarges errors."""
    error: torch.Tensor
    """(*), estimate of the relative error of the gradient."""
    trusted: torch.Tensor
    """(*), bool, the verdict."""


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

    @property
    def grad_info(self) -> GradInfo | None:
        """How far the gradients of the latest ``backward()`` through this result can be trusted.

        It costs nothing: a plain backward pass in eager mode computes it anyway. None where there
        was no such pass: before it, where no argument requires grad, after one with
        ``create_graph=True``, in forward mode, under `torch.func` and `torch.vmap`, in a result
        that comes out of a compiled or exported function, and where the tensors of the result are
        no longer those of `solve_qp`. There `qpcore.vjp` on arrays tells.
        """
        trust = trust_of(self[:4])
        return None if trust is None else GradInfo(*trust)


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

    Tensors go in and come out without a copy where they are contiguous. CUDA tensors are solved on
    their own device, on its current stream; with ``throw=False`` nothing waits for the GPU, and
    after a first call the same shapes can be captured in a CUDA graph. Derivatives of every order,
    in both modes, under `torch.func`, `torch.vmap` and `torch.compile`: the README has a
    table. Inside `torch.autocast` tensors may be of half precision and of several dtypes; they are
    widened to the widest of them, at least float32, and the answer is of the widest as it came.

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
        The problems left out then add exactly zero to every gradient. It lets infeasible
        problems pass that ``Settings(infeasible="closest")`` has answered.

    Returns
    -------
    QPResult
        Named tuple (x, z, y, z_box, status, iterations), with Qx + q + Gᵀz + Aᵀy + z_box = 0. After
        ``backward()`` its `grad_info` says how far the gradients can be trusted.

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
    if torch.is_autocast_enabled(device_type(Q)):
        compute, give_back = autocast_dtypes(given)
        result = _solve(settings, throw, checked(widened(given, compute)))
        return QPResult(*(t.to(give_back) if t.dtype == compute else t for t in result))
    return QPResult(*_solve(settings, throw, checked(given)))


def _solve(settings: Settings, throw: bool, problem: list[torch.Tensor | None]) -> tuple:
    """Solve, in a way that the compiler can follow if it is watching."""
    if torch.compiler.is_compiling():
        from torch_bridge.in_graph import solve_in_graph, values_of

        return solve_in_graph(values_of(settings), throw, forward_ad._current_level, *problem)
    return Solve.apply(encoded(settings, expects_gradients(problem)), throw, *problem)


def expects_gradients(problem: list[torch.Tensor | None]) -> bool:
    """Whether somebody is likely to differentiate the answer."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in problem)
