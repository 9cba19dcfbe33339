"""Knapsacks whose values must be predicted, and their relaxation as a linear or quadratic program.

Of 20 things, fractions x are chosen that fit two capacities. The values c are unknown when the
choice is made; five features tell something of them. The task and its data follow Elmachtoub &
Grigas (2022, Management Science 68, arXiv 1710.08005): c is a polynomial of the features, its
degree says how wrong a linear prediction is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from qpcore import Settings
from torch_bridge import solve_qp

THINGS, FEATURES, CAPACITIES = 20, 5, 2
SHARE = 0.3
"""Of the total weight that each capacity admits."""

NOISE = 0.5
"""Values are multiplied by U(1 - NOISE, 1 + NOISE)."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Features, (count, 5), and values, (count, 20), float64."""

    features: torch.Tensor
    values: torch.Tensor

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.features)


class Knapsack:
    """Weights and capacities, which are known, and the truth behind the values, which is not."""

    def __init__(self, degree: int, seed: int, settings: Settings = Settings()) -> None:
        self.rng = np.random.default_rng(seed)
        self.degree = degree
        self.settings = settings
        self.mixing = self.rng.integers(0, 2, (FEATURES, THINGS)).astype(float)
        weights = self.rng.uniform(3.0, 8.0, (CAPACITIES, THINGS))
        self.G = torch.from_numpy(weights)
        self.h = SHARE * self.G.sum(dim=1)

    def samples(self, count: int) -> Samples:
        """Draw features and values; mean values are about 5 whatever the degree."""
        features = self.rng.standard_normal((count, FEATURES))
        base = features @ self.mixing / np.sqrt(FEATURES) + 3.0
        values = 5.0 / 3.5**self.degree * (np.maximum(base, 0.0) ** self.degree + 1.0)
        noise = self.rng.uniform(1.0 - NOISE, 1.0 + NOISE, values.shape)
        return Samples(torch.from_numpy(features), torch.from_numpy(values * noise))

    def decide(self, values: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Choose for values, (B, 20): most value, less ½ smoothing ‖x‖².

        Without smoothing this is a linear program: its answer is a vertex, and does not change with
        the values but by jumps. Smoothing gives it derivatives.
        """
        Q = smoothing * torch.eye(THINGS, dtype=values.dtype)
        return solve_qp(Q, -values, self.G, self.h, lb=0.0, ub=1.0, settings=self.settings).x


def regret(knapsack: Knapsack, predicted: torch.Tensor, values: torch.Tensor) -> float:
    """Value lost by choosing with predicted values, as a share of the best that was possible."""
    with torch.no_grad():
        best = (knapsack.decide(values) * values).sum()
        found = (knapsack.decide(predicted) * values).sum()
    return ((best - found) / best).item()
