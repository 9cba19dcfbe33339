"""Train as the authors do: Adam, batches of 150 in fixed order, squared error.

That gradients are clipped, where they did not, is the layer's doing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from benchmarks.paper.sudoku.model import SudokuLayer
from benchmarks.paper.sudoku.puzzles import Puzzles, decode, is_valid
from qpcore import Status

BATCH = 150
LEARNING_RATE = 1e-1

# The authors' solver averages the gradients of what the batch shares, where ours, like PyTorch,
# sums them. Adam sees a factor only in its epsilon, which therefore grows with the batch.
EPSILON = 1e-8 * BATCH


@dataclass(frozen=True)
class Score:
    """How well the layer did on a set of puzzles."""

    mse: float
    """Mean squared error over all entries of the encoded solutions."""
    error: float
    """Share of predicted boards that break a rule: the authors' measure."""
    wrong: float
    """Share of predicted boards that are not the solution: also counts a changed clue."""
    failures: int
    """QPs that the solver left unsolved. They count as wrong, and are left out of mse."""


@dataclass(frozen=True)
class Epoch:
    """One line of the results."""

    epoch: int
    """0 is the untrained layer, with no training score."""
    train: Score | None
    """Over the batches as they were met, each before its step."""
    test: Score
    seconds: float
    """Of training, without the test."""


@dataclass
class Tally:
    """Sums from which a `Score` is made."""

    squares: float = 0.0
    broken: int = 0
    wrong: int = 0
    failures: int = 0
    count: int = 0

    def add(self, codes: torch.Tensor, status: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one batch of predictions, (B, 64), against the encoded solutions."""
        solved = status == Status.SOLVED
        boards = decode(codes.detach().view_as(labels).numpy())
        good = is_valid(boards) & solved.numpy()
        right = (boards == decode(labels.numpy())).all(axis=(-1, -2)) & good
        missed = codes.detach()[solved] - labels.flatten(1)[solved]
        self.squares += float(missed.square().sum())
        self.broken += int(np.sum(~good))
        self.wrong += int(np.sum(~right))
        self.failures += int((~solved).sum())
        self.count += len(labels)

    def score(self) -> Score:
        """Turn sums into shares."""
        entries = 64 * max(self.count - self.failures, 1)
        shares = self.broken / self.count, self.wrong / self.count
        return Score(self.squares / entries, *shares, self.failures)


def train(
    model: SudokuLayer, training: Puzzles, test: Puzzles, epochs: int
) -> Iterator[Epoch | float]:
    """Yield the loss after each batch, and an `Epoch` before the first and after every epoch."""
    optimizer = adam(model)
    yield Epoch(0, None, evaluate(model, test), 0.0)
    for epoch in range(1, epochs + 1):
        tally, seconds = Tally(), 0.0
        for puzzles, labels in batches(training):
            start = perf_counter()
            loss = step(model, optimizer, puzzles, labels, tally)
            seconds += perf_counter() - start
            yield loss
        yield Epoch(epoch, tally.score(), evaluate(model, test), seconds)


def adam(model: SudokuLayer) -> torch.optim.Optimizer:
    """The authors' optimizer."""
    return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=EPSILON)


def step(
    model: SudokuLayer,
    optimizer: torch.optim.Optimizer,
    puzzles: torch.Tensor,
    labels: torch.Tensor,
    tally: Tally,
) -> float:
    """One step of Adam on one batch; returns the loss before it. What is unsolved adds nothing."""
    x, *_, status, _ = model.solve(puzzles)
    tally.add(x, status, labels)
    solved = status == Status.SOLVED
    loss = (x - labels.flatten(1))[solved].square().sum() / labels.numel()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(model: SudokuLayer, puzzles: Puzzles) -> Score:
    """Score the layer as it is."""
    tally = Tally()
    with torch.no_grad():
        for features, labels in batches(puzzles):
            x, *_, status, _ = model.solve(features)
            tally.add(x, status, labels)
    return tally.score()


def batches(puzzles: Puzzles) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of puzzles and solutions as float64 tensors, in the order of the set."""
    for start in range(0, len(puzzles), BATCH):
        part = puzzles[start : start + BATCH]
        yield torch.from_numpy(part.features).double(), torch.from_numpy(part.labels).double()
