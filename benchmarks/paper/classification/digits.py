"""The 8x8 digits that scikit-learn ships (UCI, Optical Recognition of Handwritten Digits)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.paper import command

CLASSES = 10
TEST_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Digits:
    """Images, (count, 64) float64 with entries 0 to 1, and their digits, (count,) int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def __getitem__(self, part: slice | torch.Tensor) -> Digits:
        """Take a part of the images."""
        return Digits(self.images[part], self.labels[part])


def load(seed: int) -> tuple[Digits, Digits]:
    """Training and test images: 1438 and 359 of the 1797, split anew for each seed."""
    command.require("sklearn", "scikit-learn", "the classification experiment")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    everything = Digits(
        torch.from_numpy(images[order] / 16.0), torch.from_numpy(labels[order].astype(np.int64))
    )
    count = round(TEST_SHARE * len(labels))
    return everything[count:], everything[:count]
