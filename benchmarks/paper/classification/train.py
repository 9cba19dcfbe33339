"""Adam at 0.001 in batches of 64, as in the authors' code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch

from benchmarks.paper.classification.digits import Digits
from benchmarks.paper.classification.models import Softmax

BATCH = 64
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Epoch:
    """One epoch's figures."""

    epoch: int
    loss: float
    """Mean over the images as they were met."""
    train: float
    """Share of the training images whose digit was right as they were met."""
    test: float
    """Share of the test images whose digit is right."""
    seconds: float
    """Of training, without the test."""
    finite: bool
    """Whether no score, loss or gradient was NaN or infinite."""


def train(model: Softmax, training: Digits, test: Digits, epochs: int) -> Iterator[Epoch]:
    """Yield an `Epoch` after every epoch; images come in a new order each time."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for epoch in range(1, epochs + 1):
        start, total, right, finite = perf_counter(), 0.0, 0, True
        for part in torch.randperm(len(training)).split(BATCH):
            images, labels = training.images[part], training.labels[part]
            scores = model(images)
            loss = model.loss(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(part)
            right += int((scores.argmax(dim=1) == labels).sum())
            finite &= is_finite(model, scores, loss)
        seconds, count = perf_counter() - start, len(training)
        yield Epoch(epoch, total / count, right / count, accuracy(model, test), seconds, finite)


def is_finite(model: Softmax, *tensors: torch.Tensor) -> bool:
    """Whether these and all gradients are numbers."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return all(bool(tensor.isfinite().all()) for tensor in [*tensors, *gradients])


@torch.no_grad()
def accuracy(model: Softmax, digits: Digits) -> float:
    """Share of the images whose digit is right."""
    return float((model(digits.images).argmax(dim=1) == digits.labels).double().mean())
