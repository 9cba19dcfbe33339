"""Piecewise-constant signals and their noisy copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

LENGTH = 100
PIECES = range(1, 10)
HEIGHTS = range(10, 100)
NOISE = 10.0


@dataclass(frozen=True, eq=False)
class Signals:
    """Noisy signals and what they were made of, both (count, 100) float64 tensors."""

    noisy: torch.Tensor
    clean: torch.Tensor

    def __len__(self) -> int:
        """Count the signals."""
        return len(self.noisy)

    def __getitem__(self, part: slice) -> Signals:
        """Take a part of the signals."""
        return Signals(self.noisy[part], self.clean[part])

    def batches(self, size: int) -> list[Signals]:
        """Split into batches, in order."""
        return [self[start : start + size] for start in range(0, len(self), size)]


def generate(count: int, seed: int = 0) -> Signals:
    """Draw signals: 1 to 9 pieces of whole heights 10 to 99, noise of standard deviation 10.

    NumPy's old generator is asked in the order in which the authors' script asks it, so that seed 0
    gives their 10,000 signals.
    """
    rng = np.random.RandomState(seed)
    clean, noisy = np.empty((2, count, LENGTH))
    for i in range(count):
        pieces = rng.randint(PIECES.start, PIECES.stop)
        jumps = np.sort(rng.choice(LENGTH - 2, pieces - 1, replace=False) + 1)
        lengths = np.diff(jumps, prepend=0, append=LENGTH)
        clean[i] = np.repeat(rng.randint(HEIGHTS.start, HEIGHTS.stop, pieces), lengths)
        noisy[i] = clean[i] + rng.normal(0.0, NOISE, LENGTH)
    return Signals(torch.from_numpy(noisy), torch.from_numpy(clean))
