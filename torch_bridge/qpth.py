"""qpth's interface: code written for it runs with the import changed.

.. code-block:: python

    from torch_bridge.qpth import QPFunction  # was: from qpth.qp import QPFunction

    x = QPFunction(verbose=False)(Q, p, G, h, A, b)

What is different, on purpose:

- Gradients of arguments without a batch axis are *summed* over the batch, as everywhere in
  PyTorch; qpth averages them. With plain SGD, divide their learning rate by the batch size. Adam
  and other methods that scale gradients themselves need nothing.
- A problem that has no answer raises `qpcore.SolveError`, a RuntimeError that tells its status,
  where qpth prints a warning and returns what it has. With ``verbose < 0``, which silences qpth's
  warning too, nothing is raised: the problem's row is NaN, or its best iterate at the limit of
  iterations.
- Singular Q, dependent equations, and problems without G are ordinary input. A Q that is not
  convex is a status, so that `check_Q_spd` has no effect.
- Each problem stops by itself: neither have `notImprovedLim`, `maxIter` and `solver`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import torch

from qpcore import ProblemError, Settings
from torch_bridge.function import solve_qp

CORE_AXES = {"Q": 2, "p": 1, "G": 2, "h": 1, "A": 2, "b": 1}

FINEST = {torch.float64: 1e-10, torch.float32: 1e-5}
"""The smallest eps. On OptNet's Sudoku layer qpth comes to within 1e-8 of the minimisers, qpcore to
3e-4 at its default tolerance of 1e-8 and to 2e-6 with this one, for one iteration more."""

SETTINGS = {dtype: Settings(tol=eps) for dtype, eps in FINEST.items()}

Layer = Callable[..., torch.Tensor]


class QPSolvers(Enum):
    """qpth's choice of solvers. All of them mean qpcore here."""

    PDIPM_BATCHED = 1
    CVXPY = 2


def QPFunction(
    eps: float = 1e-12,
    verbose: int = 0,
    notImprovedLim: int = 3,
    maxIter: int = 20,
    solver: QPSolvers = QPSolvers.PDIPM_BATCHED,
    check_Q_spd: bool = True,
) -> Layer:
    r"""Make the function that solves a batch of QPs, with qpth's arguments and shapes.

    .. code-block:: text

        minimise    ½ zᵀQz + pᵀz
        subject to  Gz ≤ h,   Az = b

    Parameters
    ----------
    eps : float
        Tolerance of the solver, but not below 1e-10 in float64 and 1e-5 in float32. qpth takes its
        own default, which is out of reach, for as far as it can come. Raise it to 1e-8, qpcore's
        default, if hard problems end as NUMERICAL_ERROR.
    verbose : int
        Below 0 a problem without an answer is NaN and not an error. Nothing is ever printed.
    notImprovedLim, maxIter, solver, check_Q_spd
        Without effect.

    Returns
    -------
    Callable
        Takes (Q, p, G, h, A, b): tensors of shapes (nBatch, nz, nz), (nBatch, nz), (nBatch, nineq,
        nz), (nBatch, nineq), (nBatch, neq, nz), (nBatch, neq). Each may lack nBatch; G and h, or A
        and b, may be empty tensors of any dtype, or None. It returns the minimisers, (nBatch, nz),
        where nBatch is 1 if no argument has it. They have derivatives in all arguments.

    Raises
    ------
    qpcore.ProblemError
        Shapes or dtypes make no QP; raised by the function that is returned, like the others.
    qpcore.SolveError
        A problem has no answer and ``verbose >= 0``.
    """

    def solve(
        Q: torch.Tensor,
        p: torch.Tensor,
        G: torch.Tensor | None,
        h: torch.Tensor | None,
        A: torch.Tensor | None,
        b: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the minimisers, (nBatch, nz)."""
        _check_axes({"Q": Q, "p": p, "G": G, "h": h, "A": A, "b": b})
        dtype = torch.float32 if Q.dtype == torch.float32 else torch.float64
        settings = SETTINGS[dtype] if eps <= FINEST[dtype] else Settings(tol=eps)
        blocks = [_present(block) for block in (G, h, A, b)]
        x = solve_qp(Q, p, *blocks, settings=settings, throw=verbose >= 0).x
        return x if x.ndim == 2 else x.unsqueeze(0)

    return solve


def _present(block: torch.Tensor | None) -> torch.Tensor | None:
    """None for an empty tensor, which says in qpth that a block is absent."""
    return None if block is None or block.numel() == 0 else block


def _check_axes(given: dict[str, torch.Tensor | None]) -> None:
    """Refuse a second batch axis, of which qpth knows nothing."""
    for name, tensor in given.items():
        axes = CORE_AXES[name]
        if tensor is None or tensor.numel() == 0 or tensor.ndim in (axes, axes + 1):
            continue
        raise ProblemError(
            f"{name} has shape {tuple(tensor.shape)}; expected {axes} axes, or {axes + 1} with one "
            "of the batch. torch_bridge.solve_qp takes any number of batch axes."
        )
