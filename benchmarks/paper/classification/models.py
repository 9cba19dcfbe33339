"""Networks of the same body with different last layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from benchmarks.paper.classification.digits import CLASSES
from qpcore import Settings
from torch_bridge import OptNetLayer, solve_qp

WIDTH = 600
ROWS = 50
"""Inequalities of the learned QP, in the authors' code."""


def body() -> nn.Sequential:
    """FC 600, ReLU, FC 10: what comes before the last layer."""
    return nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)).double()


class Softmax(nn.Module):
    """FC, ReLU, FC, softmax; its loss is the cross entropy."""

    def __init__(self, settings: Settings = Settings()) -> None:
        super().__init__()
        self.body = body()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, (B, 10)."""
        return self.body(images)

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """What the last layer makes of the scores."""
        return scores.softmax(dim=1)

    def loss(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy of softmax."""
        return functional.cross_entropy(scores, labels)


class OptNet(Softmax):
    """FC, ReLU, FC, ReLU, QP, softmax: 10 variables and 50 inequalities, all learned."""

    def __init__(self, settings: Settings = Settings()) -> None:
        super().__init__()
        self.layer = OptNetLayer(CLASSES, ROWS, settings=settings, dtype=torch.float64)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of the classes, (B, 10)."""
        return self.layer(self.body(images).relu())


class Simplex(Softmax):
    """FC, ReLU, FC, projection onto the simplex, in place of softmax.

    The projection, also known as sparsemax (Martins & Astudillo 2016, arXiv 1602.02068), gives
    probabilities many of which are exactly zero. Its loss is theirs, defined by the same QP: what v
    loses against its projection p by choosing the label's unit vector y,

    .. code-block:: text

        max over the simplex of (vᵀp - ½ pᵀp), less vᵀy - ½ yᵀy

    whose gradient p - y, unlike that of a squared error of p, does not vanish where p is zero.
    """

    def __init__(self, settings: Settings = Settings()) -> None:
        super().__init__()
        self.settings = settings

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Nearest points of the simplex."""
        return project(scores, self.settings)

    def loss(self, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of sparsemax."""
        p, y = self.probabilities(scores), functional.one_hot(labels, CLASSES).to(scores)
        value = (scores * (p - y)).sum(dim=1) - 0.5 * p.square().sum(dim=1) + 0.5
        return value.mean()


def project(v: torch.Tensor, settings: Settings = Settings()) -> torch.Tensor:
    """Nearest points of the simplex to v, (B, n): entries at least 0 that sum to 1."""
    n = v.shape[-1]
    eye, ones = torch.eye(n, dtype=v.dtype), torch.ones(1, n, dtype=v.dtype)
    return solve_qp(eye, -v, A=ones, b=ones[0, :1], lb=0.0, settings=settings).x


MODELS = {"FC, softmax": Softmax, "FC, QP, softmax": OptNet, "FC, simplex projection": Simplex}
