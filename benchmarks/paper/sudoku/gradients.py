"""Why gradients are clipped: those that an epoch of the authors' training meets.

``python -m benchmarks.paper.sudoku.gradients --data DIR`` takes two minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.paper.sudoku import __main__ as command
from benchmarks.paper.sudoku.model import RULES, SudokuLayer
from benchmarks.paper.sudoku.plot import plot_gradients
from benchmarks.paper.sudoku.train import Tally, adam, batches, step
from qpcore import Status

DISTANCES = np.logspace(-6, 0, 13)
"""How far A is moved, to see how long its gradient stays right."""


@dataclass
class Met:
    """What one epoch met: an entry for each problem, in `step` for each batch."""

    length: list[float] = field(default_factory=list)
    """Of the gradient of A, in medians of its batch."""
    sigma: list[float] = field(default_factory=list)
    """Smallest singular value of the columns of A whose x is not held at zero."""
    reach: list[float] = field(default_factory=list)
    """How far A can go against the gradient, the loss falling at least half as fast as it says."""
    step: list[float] = field(default_factory=list)
    """How far A did go."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train without clipping, look at each gradient of the last epoch, write figure and facts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper.sudoku.gradients")
    parser.add_argument("--data", type=Path, metavar="DIR", help="use the authors' mini4x4.npz")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="450 puzzles, for tests")
    parser.add_argument("--out", type=Path, metavar="DIR", default=command.RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    training, _ = command.select(options)
    layer = SudokuLayer(torch.Generator().manual_seed(options.seed), clip=float("inf"))
    optimizer, met = adam(layer), Met()
    for epoch in range(1, options.epochs + 1):
        for puzzles, labels in batches(training):
            before = layer.A.detach().clone()
            if epoch == options.epochs:
                look(met, layer, puzzles, labels)
            step(layer, optimizer, puzzles, labels, Tally())
            if epoch == options.epochs:
                met.step.append((layer.A.detach() - before).norm().item())
    options.out.mkdir(parents=True, exist_ok=True)
    facts = {"seed": options.seed, "epoch": options.epochs, **describe(met)}
    (options.out / "gradients.json").write_text(json.dumps(facts, indent=1) + "\n")
    plot_gradients(met.length, met.sigma, met.reach, met.step, options.out / "gradients.png")


def look(met: Met, layer: SudokuLayer, puzzles: torch.Tensor, labels: torch.Tensor) -> None:
    """Add the problems of one batch that are solved, and whose loss has a gradient."""
    A = layer.A.detach().expand(len(puzzles), -1, -1).clone().requires_grad_()
    x, _, _, z_box, status, _ = layer.solve(puzzles, A)
    loss = (x - labels.flatten(1)).square().sum(dim=1)
    gradient, length = directions(loss, status, A)
    use = (status == Status.SOLVED) & (length > 0)
    met.length += (length[use] / length[use].median()).tolist()
    met.sigma += [
        torch.linalg.svdvals(layer.A.detach()[:, free])[:RULES].min().item()
        for free in (x > -z_box)[use]
    ]
    met.reach += reach(layer, puzzles, labels, gradient, length, loss.detach())[use].tolist()


def directions(
    loss: torch.Tensor, status: torch.Tensor, A: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of each problem by its own A, as a unit matrix and a length."""
    (gradient,) = torch.autograd.grad(loss[status == Status.SOLVED].sum(), A)
    length = gradient.flatten(1).norm(dim=1)
    return gradient / length.clamp(min=1e-300).view(-1, 1, 1), length


@torch.no_grad()
def reach(
    layer: SudokuLayer,
    puzzles: torch.Tensor,
    labels: torch.Tensor,
    gradient: torch.Tensor,
    length: torch.Tensor,
    loss: torch.Tensor,
) -> torch.Tensor:
    """Greatest distance up to which the loss falls at least half as fast as at the start."""
    found, holds = torch.zeros_like(loss), torch.ones_like(loss, dtype=torch.bool)
    for distance in DISTANCES:
        x = layer.solve(puzzles, layer.A - distance * gradient).x
        fall = loss - (x - labels.flatten(1)).square().sum(dim=1)
        holds &= fall > 0.5 * distance * length
        found[holds] = distance
    return found


def describe(met: Met) -> dict:
    """The figure in numbers."""
    length, sigma, reached = (np.array(part) for part in (met.length, met.sigma, met.reach))
    tops = np.sort(length)[::-1][: len(length) // 100]
    far, near = length > 10, length <= 1
    return {
        "problems": len(length),
        "share longer than medians": {str(t): float((length > t).mean()) for t in (3, 10, 30, 100)},
        "longest, medians": float(length.max()),
        "tail exponent (Hill, longest 1 %)": float(1 / np.log(tops / tops[-1]).mean()),
        "median sigma": {"all": _median(sigma), "longer than 10 medians": _median(sigma[far])},
        "median reach": {
            "up to the median": _median(reached[near]),
            "longer than 10 medians": _median(reached[far]),
        },
        "median step": _median(np.array(met.step)),
    }


def _median(values: np.ndarray) -> float | None:
    """Of none there is none."""
    return float(np.median(values)) if len(values) else None


if __name__ == "__main__":
    main()
