"""QPs as modules: `QPLayer` has no parameters, `OptNetLayer` learns a whole QP."""

from __future__ import annotations

import torch
from torch import nn

from qpcore import ProblemError, Settings
from torch_bridge.function import solve_qp


class QPLayer(nn.Module):
    """`solve_qp` as a module without parameters, which returns x alone.

    Parameters
    ----------
    settings : qpcore.Settings
        Tolerance, iteration limit, threads.
    throw : bool
        Whether one unsolved problem is an error (`qpcore.SolveError`) or a row of NaN in x.
    """

    def __init__(self, settings: Settings = Settings(), throw: bool = True) -> None:
        super().__init__()
        self.settings = settings
        self.throw = throw

    def forward(
        self,
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
    ) -> torch.Tensor:
        """Return the minimisers x, (*, n). Shapes, defaults and errors are those of `solve_qp`."""
        options = {"settings": self.settings, "throw": self.throw}
        return solve_qp(Q, q, G, h, A, b, lb, ub, h_lower=h_lower, **options).x

    def extra_repr(self) -> str:
        """Return what ``print(layer)`` shows."""
        return f"settings={self.settings}, throw={self.throw}"


class OptNetLayer(nn.Module):
    r"""The OptNet layer: a QP whose Q, G, h, A, b are learned, and whose input is q.

    .. code-block:: text

        minimise    ½ xᵀQx + qᵀx          Q = LLᵀ + eps·I
        subject to  Gx ≤ h                h = G x0 + s0,   s0 = exp(log_s0) > 0
                    Ax = b                b = A x0

    x0 satisfies all constraints and Q is positive definite, so there is exactly one minimiser
    whatever is learned. Parameters and initial values are those of the paper (Amos & Kolter 2017,
    arXiv 1703.00443) and its published code, except that s0 is learned as its logarithm, so that it
    stays positive.

    Parameters
    ----------
    n : int
        Number of variables: size of q and x.
    m, p : int
        Number of inequalities and of equations; dependent equations, or more than n, are allowed.
    eps : float
        Smallest eigenvalue that Q can have, in its units. Raise it where gradients explode.
    settings : qpcore.Settings
        Tolerance, iteration limit, threads.
    throw : bool
        Whether one unsolved problem is an error (`qpcore.SolveError`) or a row of NaN in x.
    device, dtype
        Of the parameters, as in `torch.nn.Linear`; float32 or float64.

    Attributes
    ----------
    L : torch.nn.Parameter
        (n, n), of which the lower triangle counts; starts as U(0, 1).
    G, log_s0 : torch.nn.Parameter
        (m, n), starts as U(-1, 1), and (m,), starts as 0.
    A : torch.nn.Parameter
        (p, n), starts as U(0, 1).
    x0 : torch.nn.Parameter
        (n,), starts as 0.
    """

    def __init__(
        self,
        n: int,
        m: int = 0,
        p: int = 0,
        *,
        eps: float = 1e-4,
        settings: Settings = Settings(),
        throw: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if n < 1 or m < 0 or p < 0 or not eps >= 0:
            got = f"OptNetLayer got n={n}, m={m}, p={p}, eps={eps}"
            raise ProblemError(f"{got}; expected n >= 1, and m, p and eps >= 0.")
        self.n, self.m, self.p, self.eps = n, m, p, eps
        self.settings = settings
        self.throw = throw

        def empty(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.L = empty(n, n)
        self.G = empty(m, n)
        self.log_s0 = empty(m)
        self.A = empty(p, n)
        self.x0 = empty(n)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial values again; draws from torch's global generator."""
        with torch.no_grad():
            self.L.copy_(torch.rand_like(self.L).tril())
            self.G.uniform_(-1.0, 1.0)
            self.log_s0.zero_()
            self.A.uniform_(0.0, 1.0)
            self.x0.zero_()

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        """Return the minimisers x, (*, n), for linear terms q, (*, n)."""
        # In half, Q might not be convex.
        with torch.autocast(self.L.device.type, enabled=False):
            L = self.L.tril()
            Q = L @ L.mT + self.eps * torch.eye(self.n, device=L.device, dtype=L.dtype)
            h = self.G @ self.x0 + self.log_s0.exp()
            b = self.A @ self.x0
        return solve_qp(Q, q, self.G, h, self.A, b, settings=self.settings, throw=self.throw).x

    def extra_repr(self) -> str:
        """Return what ``print(layer)`` shows."""
        sizes = f"n={self.n}, m={self.m}, p={self.p}, eps={self.eps}"
        return f"{sizes}, settings={self.settings}, throw={self.throw}"
