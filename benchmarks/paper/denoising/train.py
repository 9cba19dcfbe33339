"""Train as the authors do: Adam, batches of 150 in fixed order, mean squared error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import nn

from benchmarks.paper.denoising.models import (
    FullyConnected,
    LearnedDifferences,
    TunedProgram,
    TunedVariation,
)
from benchmarks.paper.denoising.signals import Signals

BATCH = 150


@dataclass(frozen=True)
class Recipe:
    """A row of the table: what is trained, and how."""

    make: Callable[[], nn.Module]
    rate: float
    """Learning rate of Adam."""
    sparsity: float = 0.0
    """Weight of the sum of the magnitudes of D in the loss."""
    epochs: int = 50
    """As in the authors' script of experiments; 100 is their program's default."""


RECIPES = {
    "fully connected": Recipe(FullyConnected, 1e-3),
    "tuned variation": Recipe(TunedVariation, 1e-4, epochs=100),
    "learned differences": Recipe(LearnedDifferences, 1e-2, sparsity=0.1),
    "tuned program": Recipe(TunedProgram, 1e-4),
}


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures."""

    epoch: int
    """0 is the untrained model, with no training score."""
    train: float | None
    """Mean squared error over the batches as they were met, each before its step."""
    test: float
    seconds: float
    """Of training, without the test."""


def train(
    model: nn.Module, recipe: Recipe, training: Signals, test: Signals, epochs: int
) -> Iterator[Epoch]:
    """Yield an `Epoch` before the first and after every epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    yield Epoch(0, None, evaluate(model, test), 0.0)
    for epoch in range(1, epochs + 1):
        start, total = perf_counter(), 0.0
        for part in training.batches(BATCH):
            total += step(model, recipe, optimizer, part) * len(part)
        seconds = perf_counter() - start
        yield Epoch(epoch, total / len(training), evaluate(model, test), seconds)


def step(
    model: nn.Module, recipe: Recipe, optimizer: torch.optim.Optimizer, part: Signals
) -> float:
    """One step of Adam; returns the squared error before it."""
    error = (model(part.noisy) - part.clean).square().mean()
    loss = error
    if recipe.sparsity:
        loss = error + recipe.sparsity * model.get_parameter("D").abs().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return error.item()


@torch.no_grad()
def evaluate(model: Callable[[torch.Tensor], torch.Tensor], signals: Signals) -> float:
    """Mean squared error over all entries of all signals."""
    total = sum(
        (model(part.noisy) - part.clean).square().sum().item() for part in signals.batches(BATCH)
    )
    return total / signals.clean.numel()
