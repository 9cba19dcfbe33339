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
    "fully connected": Recipe(FullyConnected, 1e-3, epochs=100),
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
    failures: int = 0
    """Signals whose QP was not solved, in training and test; the errors leave them out."""


def train(
    model: nn.Module, recipe: Recipe, training: Signals, test: Signals, epochs: int
) -> Iterator[Epoch]:
    """Yield an `Epoch` before the first and after every epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    first = evaluate(model, test)
    yield Epoch(0, None, first.error, 0.0, first.failures)
    for epoch in range(1, epochs + 1):
        start, met = perf_counter(), Tally()
        for part in training.batches(BATCH):
            step(model, recipe, optimizer, part, met)
        seconds, after = perf_counter() - start, evaluate(model, test)
        yield Epoch(epoch, met.error, after.error, seconds, met.failures + after.failures)


@dataclass
class Tally:
    """Sums over the signals that were denoised."""

    squares: float = 0.0
    entries: int = 0
    failures: int = 0

    def add(self, x: torch.Tensor, part: Signals) -> torch.Tensor:
        """Count a batch, and return the squared errors of what came out."""
        good = x.isfinite().all(dim=1)
        squares = (x[good] - part.clean[good]).square()
        self.squares += squares.sum().item()
        self.entries += squares.numel()
        self.failures += int((~good).sum())
        return squares

    @property
    def error(self) -> float:
        """Mean squared error."""
        return self.squares / max(self.entries, 1)


def step(
    model: nn.Module, recipe: Recipe, optimizer: torch.optim.Optimizer, part: Signals, met: Tally
) -> None:
    """One step of Adam; what the model did before it is added to the tally."""
    loss = met.add(model(part.noisy), part).sum() / part.clean.numel()
    if recipe.sparsity:
        loss = loss + recipe.sparsity * model.get_parameter("D").abs().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def evaluate(model: Callable[[torch.Tensor], torch.Tensor], signals: Signals) -> Tally:
    """Denoise all signals."""
    tally = Tally()
    for part in signals.batches(BATCH):
        tally.add(model(part.noisy), part)
    return tally
