"""Figures: how error and loss fall, and which rules the learned equations hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.paper.sudoku.puzzles import constraint_matrix
from benchmarks.paper.sudoku.train import Epoch

COLOURS = {"train": "tab:blue", "test": "tab:orange"}


def plot_curves(groups: Mapping[str, Sequence[Sequence[Epoch]]], path: Path) -> None:
    """Error and MSE per epoch, a row of axes for each way to train.

    A light line for each seed, a strong one for their median.
    """
    figure = Figure(figsize=(9, 0.4 + 3.2 * len(groups)), layout="constrained")
    grid = figure.subplots(len(groups), 2, squeeze=False, sharex=True, sharey="col")
    for (left, right), (setting, runs) in zip(grid, groups.items(), strict=True):
        for part, colour in COLOURS.items():
            _curve(left, runs, part, "error", colour)
            _curve(right, runs, part, "mse", colour)
        left.set_yscale("symlog", linthresh=1e-3)  # linear below one board of the 1000
        left.set(ylabel="boards that break a rule", ylim=(-1e-4, 1.3), title=setting)
        left.set_yticks([0, 1e-3, 1e-2, 0.1, 1], ["0", "0.1 %", "1 %", "10 %", "100 %"])
        right.set(ylabel="mean squared error of an entry", yscale="log", title=setting)
        for axes in (left, right):
            axes.set(xlim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            axes.legend()
    for axes in grid[-1]:
        axes.set(xlabel="epoch (training scores: mean over one epoch)")
    count = len(next(iter(groups.values())))
    seeds = f"{count} initialisations, median bold" if count > 1 else "one initialisation"
    figure.suptitle(f"4x4 Sudoku, rules learned by a QP layer ({seeds})")
    figure.savefig(path, dpi=150)


def _curve(
    axes: Axes, runs: Sequence[Sequence[Epoch]], part: str, measure: str, colour: str
) -> None:
    """Draw one measure of one part of the puzzles."""
    lines = []
    for run in runs:
        scores = {line.epoch: getattr(line, part) for line in run if getattr(line, part)}
        # A training score is the mean over its epoch, so it belongs to the middle of it.
        epochs = np.array(list(scores)) - (0.5 if part == "train" else 0.0)
        lines.append([getattr(score, measure) for score in scores.values()])
        if len(runs) > 1:
            axes.plot(epochs, lines[-1], color=colour, alpha=0.3, linewidth=1)
    axes.plot(epochs, np.median(lines, axis=0), color=colour, marker="o", markersize=3, label=part)


def plot_rules(before: np.ndarray, after: np.ndarray, path: Path) -> None:
    """Learned equations beside the true rules.

    A itself is learned only up to a change of basis of its rows. The projector onto its row space
    does not depend on that, and equals the projector of the rules once they are learned.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    projectors = {"A at the start": before, "A learned": after, "true rules": constraint_matrix()}
    columns = top.subplots(1, 3)
    for axes, (title, matrix) in zip(columns, projectors.items(), strict=True):
        image = _matrix(axes, projector(matrix), f"projector onto the rows: {title}", limit=0.3)
        axes.set_ylabel("entry of the board")
    top.colorbar(image, ax=columns, label="value")
    left, right = bottom.subplots(1, 2)
    scale = float(np.quantile(np.abs(after), 0.99))
    bottom.colorbar(_matrix(left, after, "A learned", scale), ax=left, label="value")
    left.set_ylabel("equation")
    for title, matrix in (("A at the start", before), ("A learned", after)):
        # Two spaces of 40 dimensions among 64 share 16 whatever they are: only the other 24 tell.
        right.plot(
            np.arange(1, 25), missing_rules(matrix)[:24], marker="o", markersize=3, label=title
        )
    right.set(
        xlabel="direction in the rules, worst first",
        ylabel="part outside the rows of A",
        title="rules that A lacks (0: learned, 1: unknown)",
        ylim=(-0.02, 1.05),
    )
    right.grid(alpha=0.3)
    right.legend()
    figure.savefig(path, dpi=150)


def plot_gradients(
    length: Sequence[float],
    sigma: Sequence[float],
    reach: Sequence[float],
    step: Sequence[float],
    path: Path,
) -> None:
    """How long the gradients of single problems are, where the long ones are, how far they hold."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    longest = np.sort(length)[::-1]
    left.plot(longest, np.arange(1, len(longest) + 1) / len(longest), label="measured")
    tail = np.array([5.0, longest[0]])
    left.plot(tail, 0.6 / tail**2, "--", color="grey", label="∝ 1 / length²")
    left.set(xlabel="length of a problem's gradient, medians of the batch", xlim=(0.1, None))
    left.set(ylabel="share of gradients that are longer", ylim=(0.5 / len(longest), 1.5))
    middle.scatter(sigma, length, s=3, alpha=0.3)
    ends = np.array([min(sigma), max(sigma)])
    middle.plot(ends, 1 / ends, "--", color="grey", label="1 / σ")
    middle.set(xlabel="smallest singular value σ of A's free columns", ylabel="length, medians")
    jitter = np.random.default_rng(0).uniform(0.8, 1.25, len(reach))  # reach is on a grid
    right.scatter(length, np.array(reach) * jitter, s=3, alpha=0.3)
    right.axhline(np.median(step), color="tab:red", label="median step of Adam")
    right.set(xlabel="length, medians", ylabel="distance in A to which it holds")
    for axes in (left, middle, right):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle("Gradients of single problems in one epoch, trained as the authors")
    figure.savefig(path, dpi=150)


def _matrix(axes: Axes, matrix: np.ndarray, title: str, limit: float) -> mpl.image.AxesImage:
    """Show a matrix over the entries of an encoded board."""
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set(title=title, xlabel="entry of the board (row, column, digit)")
    axes.set_xticks(range(0, 65, 16))
    return image


def projector(matrix: np.ndarray) -> np.ndarray:
    """Orthogonal projector onto the row space."""
    basis = _row_basis(matrix)
    return basis.T @ basis


def missing_rules(matrix: np.ndarray) -> np.ndarray:
    """Sines of the principal angles between the rules and the rows of a matrix, largest first."""
    rules = _row_basis(constraint_matrix())
    return np.linalg.svd(rules - rules @ projector(matrix), compute_uv=False)


def _row_basis(matrix: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span the row space."""
    _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
    return rows[sizes > 1e-10 * sizes[0]]
