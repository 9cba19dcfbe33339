"""A linear prediction, fitted to the values, or trained through the decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.paper.decision.knapsack import Knapsack, Samples, regret

BATCH = 50
LEARNING_RATE = 0.03
SMOOTHING = 1.0
"""Of the decision in training. Values are about 5; a thing whose value is not this far from the
break-even point is then taken in part."""


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures, of the linear programs without smoothing."""

    epoch: int
    train: float
    """Regret on the training samples."""
    test: float
    """Regret on the test samples."""
    error: float
    """Root mean square error of the predicted values, test samples."""


def two_stage(samples: Samples) -> nn.Linear:
    """Fit by least squares: the first stage, which does not know of the second."""
    ones = torch.ones(len(samples), 1, dtype=torch.float64)
    columns = torch.cat([samples.features, ones], dim=1)
    weights = torch.linalg.lstsq(columns, samples.values).solution
    model = nn.Linear(samples.features.shape[1], samples.values.shape[1], dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(weights[:-1].mT)
        model.bias.copy_(weights[-1])
    return model


def train(
    model: nn.Module, knapsack: Knapsack, training: Samples, test: Samples, epochs: int
) -> Iterator[Epoch]:
    """Raise the true value of what is chosen; yields an `Epoch` before the first and after each."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    best = (knapsack.decide(training.values) * training.values).sum(dim=1)
    yield look(0, model, knapsack, training, test)
    for epoch in range(1, epochs + 1):
        for part in torch.randperm(len(training)).split(BATCH):
            chosen = knapsack.decide(model(training.features[part]), SMOOTHING)
            found = (chosen * training.values[part]).sum(dim=1)
            loss = (best[part] - found).mean() / best.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield look(epoch, model, knapsack, training, test)


@torch.no_grad()
def look(
    epoch: int, model: nn.Module, knapsack: Knapsack, training: Samples, test: Samples
) -> Epoch:
    """Measure the model as it is."""
    found = [
        regret(knapsack, model(samples.features), samples.values) for samples in (training, test)
    ]
    error = (model(test.features) - test.values).square().mean().sqrt().item()
    return Epoch(epoch, *found, error)
