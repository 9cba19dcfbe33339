"""The layer that learns Sudoku: one QP, of which only the equations are learned."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.paper.sudoku.clip import FACTOR, per_problem
from qpcore import Settings
from torch_bridge import QPResult, solve_qp

CELLS = 64
RULES = 40
"""Rank of the true rules; the authors give the layer as many equations."""

PENALTY = 0.1


class SudokuLayer(nn.Module):
    """Among the x >= 0 that obey the learned equations, the one nearest to ten times the puzzle.

    With Q = 0.1 I and q = -puzzle, over encoded boards x of 64 entries:

    .. code-block:: text

        minimise    0.05 xᵀx - puzzleᵀx
        subject to  A x = A exp(log_x0),   x >= 0

    exp(log_x0) satisfies the constraints, so the QP is feasible whatever is learned. This is the
    authors' model (github.com/locuslab/optnet, sudoku/models.py, OptNetEq) with their initial
    values, A from U(0, 1) and log_x0 = 0; only, x >= 0 stands as a bound and not as rows of G.

    Parameters
    ----------
    generator : torch.Generator, optional
        Source of the initial A.
    clip : float
        Longest gradient of one problem, in medians of its batch; inf is the authors' training.
    settings : qpcore.Settings
        Tolerance, iteration limit, threads.
    """

    def __init__(
        self,
        generator: torch.Generator | None = None,
        clip: float = FACTOR,
        settings: Settings = Settings(),
    ) -> None:
        super().__init__()
        self.clip = clip
        self.settings = settings
        self.A = nn.Parameter(torch.rand(RULES, CELLS, dtype=torch.float64, generator=generator))
        self.log_x0 = nn.Parameter(torch.zeros(CELLS, dtype=torch.float64))
        self.register_buffer("Q", PENALTY * torch.eye(CELLS, dtype=torch.float64))

    def solve(self, puzzles: torch.Tensor, A: torch.Tensor | None = None) -> QPResult:
        """Solve the QPs of encoded puzzles, (B, 4, 4, 4); a failure is a status, not an error.

        `A`, (B, 40, 64), takes the place of the layer's.
        """
        count = len(puzzles)
        A = per_problem(self.A, count, self.clip) if A is None else A
        x0 = per_problem(self.log_x0, count, self.clip).exp()
        b = (A @ x0.unsqueeze(-1)).squeeze(-1)
        q = -puzzles.flatten(1)
        return solve_qp(self.Q, q, A=A, b=b, lb=0.0, settings=self.settings, throw=False)

    def forward(self, puzzles: torch.Tensor) -> torch.Tensor:
        """Return predicted boards, encoded like the puzzles."""
        return self.solve(puzzles).x.view_as(puzzles)
