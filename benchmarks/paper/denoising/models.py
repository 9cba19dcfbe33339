"""Ways to remove noise: a network, and QPs that are solved by their dual.

Total variation denoising of a signal y, with D the differences between neighbours, is a QP in the
signal x and slacks t, 199 variables and 198 inequalities:

.. code-block:: text

    minimise  ½ ‖x - y‖² + λ Σ t    subject to  Dx <= t,  -Dx <= t                              (a)

The paper's layers have this form, with D, or everything, learned. A solver that eliminates the rows
forms GᵀWG with all 198 of them in every iteration. The dual has a variable per difference and no
constraints but bounds, so there is nothing to form, and x is the same:

.. code-block:: text

    minimise  ½ ‖Dᵀu - y‖²          subject to  -λ <= u <= λ,      x = y - Dᵀu                  (b)

With learned curvature Q = LLᵀ + eps I, input map W, w and offsets e, which (a) can express as well:

.. code-block:: text

    minimise  ½ xᵀQx - pᵀx + λ ‖Dx - e‖₁,     p = Wy + w                                        (c)
    minimise  ½ uᵀ(DQ⁻¹Dᵀ)u + (e - DQ⁻¹p)ᵀu   subject to  -λ <= u <= λ,    x = Q⁻¹(p - Dᵀu)     (d)

and for a whole learned QP

.. code-block:: text

    minimise  ½ zᵀQz - pᵀz          subject to  Gz <= h                                         (e)
    minimise  ½ uᵀ(GQ⁻¹Gᵀ)u + (h - GQ⁻¹p)ᵀu   subject to  u >= 0,          z = Q⁻¹(p - Gᵀu)     (f)

which is (d) with other bounds. DQ⁻¹Dᵀ is the same for the whole batch, and autograd differentiates
it like any other product.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.paper.denoising.signals import LENGTH
from qpcore import Settings, Status
from torch_bridge import solve_qp

JUMPS = LENGTH - 1

EPS = 1e-4
"""Added to the diagonal of Q, as the authors do; (a) leaves the slacks without curvature."""

BEST_PENALTY = 21.21
"""λ at which the authors' code starts to tune. The best one on their signals is near: README."""

LEARNED_PENALTY = 13.0
"""λ of the layer that learns D from nothing, in the authors' code."""

NOISE = 1e-3
"""Standard deviation of what the authors add to the W of total variation; seeds differ in it."""


def differences() -> torch.Tensor:
    """D of total variation, (99, 100): entry i of Dx is x[i] - x[i + 1]."""
    eye = torch.eye(LENGTH, dtype=torch.float64)
    return eye[:-1] - eye[1:]


def denoise(D: torch.Tensor, y: torch.Tensor, penalty: float, settings: Settings) -> torch.Tensor:
    """Minimise ½‖x - y‖² + penalty ‖Dx‖₁ for noisy signals y, (B, n), by (b).

    A signal whose QP is not solved comes out as NaN, here and in all layers.
    """
    options = {"settings": settings, "throw": False}
    u, *_, status, _ = solve_qp(D @ D.mT, -y @ D.mT, lb=-penalty, ub=penalty, **options)
    solved = status == Status.SOLVED
    return _spread(y[solved] - u[solved] @ D, solved)


def _spread(rows: torch.Tensor, solved: torch.Tensor) -> torch.Tensor:
    """Put the rows of the solved problems where they belong, NaN elsewhere."""
    everything = rows.new_full((len(solved), rows.shape[1]), torch.nan)
    everything[solved] = rows
    return everything


def solve_dual(
    L: torch.Tensor,
    p: torch.Tensor,
    D: torch.Tensor,
    e: torch.Tensor,
    lb: float,
    ub: float | None,
    settings: Settings,
) -> torch.Tensor:
    """Return x of (d), or z of (f) with lb = 0 and ub = None, for linear terms p, (B, n)."""
    L = L.tril()
    Q = L @ L.mT + EPS * torch.eye(len(L), dtype=L.dtype)
    root = torch.linalg.cholesky(Q)
    rows = torch.linalg.solve_triangular(root, D.mT, upper=False)
    costs = torch.linalg.solve_triangular(root, p.mT, upper=False).mT
    options = {"settings": settings, "throw": False}
    u, *_, status, _ = solve_qp(rows.mT @ rows, e - costs @ rows, lb=lb, ub=ub, **options)
    solved = status == Status.SOLVED
    left = costs[solved] - u[solved] @ rows.mT
    return _spread(torch.linalg.solve_triangular(root.mT, left.mT, upper=True).mT, solved)


class FullyConnected(nn.Sequential):
    """One hidden layer; 1000 wide in the paper's figure."""

    def __init__(self, width: int = 1000) -> None:
        super().__init__(nn.Linear(LENGTH, width), nn.ReLU(), nn.Linear(width, LENGTH))
        self.double()


class LearnedDifferences(nn.Module):
    """(b) with D learned from 0.3 N(0, 1): the paper's pure OptNet."""

    def __init__(self, settings: Settings = Settings()) -> None:
        super().__init__()
        self.settings = settings
        self.D = nn.Parameter(0.3 * torch.randn(JUMPS, LENGTH, dtype=torch.float64))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Denoise signals, (B, 100)."""
        return denoise(self.D, y, LEARNED_PENALTY, self.settings)


class TunedVariation(nn.Module):
    """(c), solved by (d), that starts as total variation: L, D, e, W and w are learned.

    Of what the authors' code learns it leaves alone what only concerns the slacks t of (a): there
    is one for each difference, which enters both of its rows with weight 1, and costs λ.
    """

    def __init__(self, penalty: float = BEST_PENALTY, settings: Settings = Settings()) -> None:
        super().__init__()
        self.penalty = penalty
        self.settings = settings
        eye = torch.eye(LENGTH, dtype=torch.float64)
        self.L = nn.Parameter(eye.clone())
        self.D = nn.Parameter(differences())
        self.e = nn.Parameter(torch.zeros(JUMPS, dtype=torch.float64))
        self.W = nn.Parameter(eye + NOISE * torch.randn_like(eye))
        self.w = nn.Parameter(torch.zeros(LENGTH, dtype=torch.float64))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Denoise signals, (B, 100)."""
        p, bound = y @ self.W.mT + self.w, self.penalty
        return solve_dual(self.L, p, self.D, self.e, -bound, bound, self.settings)


class TunedProgram(nn.Module):
    """(e), solved by (f), that starts as (a): all numbers of a QP with 199 variables are learned.

    As in the authors' code h = G z0 + s0. They also start s0 and z0 with noise of 1e-6.
    """

    def __init__(self, penalty: float = BEST_PENALTY, settings: Settings = Settings()) -> None:
        super().__init__()
        self.settings = settings
        D, eye = differences(), torch.eye(JUMPS, dtype=torch.float64)
        G = torch.cat([torch.cat([D, -eye], 1), torch.cat([-D, -eye], 1)])
        s0 = torch.ones(2 * JUMPS, dtype=torch.float64)
        gram = G.mT @ G + 1e-5 * torch.eye(G.shape[1], dtype=torch.float64)
        roots = torch.tensor([1.0] * LENGTH + [1e-4] * JUMPS, dtype=torch.float64)
        W = NOISE * torch.randn(LENGTH + JUMPS, LENGTH, dtype=torch.float64)
        W[:LENGTH] += torch.eye(LENGTH, dtype=torch.float64)
        w = torch.tensor([0.0] * LENGTH + [-penalty] * JUMPS, dtype=torch.float64)
        self.L, self.G, self.s0 = nn.Parameter(roots.diag()), nn.Parameter(G), nn.Parameter(s0)
        self.z0 = nn.Parameter(-torch.linalg.solve(gram, G.mT @ s0))
        self.W, self.w = nn.Parameter(W), nn.Parameter(w)

    def terms(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return p, (B, 199), and h, (198,), for noisy signals."""
        return y @ self.W.mT + self.w, self.G @ self.z0 + self.s0

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Denoise signals, (B, 100)."""
        p, h = self.terms(y)
        return solve_dual(self.L, p, self.G, h, 0.0, None, self.settings)[:, :LENGTH]


class PrimalProgram(TunedProgram):
    """The same, solved as it stands, by (e)."""

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Denoise signals, (B, 100)."""
        p, h = self.terms(y)
        return self.solve(self.curvature(), p, self.G, h)[:, :LENGTH]

    def curvature(self) -> torch.Tensor:
        """Return Q."""
        L = self.L.tril()
        return L @ L.mT + EPS * torch.eye(len(L), dtype=L.dtype)

    def solve(
        self, Q: torch.Tensor, p: torch.Tensor, G: torch.Tensor, h: torch.Tensor
    ) -> torch.Tensor:
        """Return z of (e)."""
        return solve_qp(Q, -p, G, h, settings=self.settings).x
