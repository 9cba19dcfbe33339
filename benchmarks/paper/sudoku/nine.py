"""9x9 boards and the true rules as one layer: ``python -m benchmarks.paper.sudoku.nine``.

Two tasks, each a batch of QPs with 729 variables and 249 equations. *Complete*: some cells of a
board are given. *Correct*: all cells are given as noisy scores of the digits, as if they had been
read badly. The layer returns the point of the rules' polytope nearest to ten times what is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.paper import command
from benchmarks.paper.sudoku.model import PENALTY
from qpcore import Settings, Status
from torch_bridge import QPResult, solve_qp

SIDE = 9
CLUES = (28, 32, 36, 40, 50, 60)
NOISES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def full_boards(count: int, rng: np.random.Generator) -> np.ndarray:
    """Valid boards, (count, 9, 9) with digits 0 to 8: one pattern, whatever keeps it valid mixed.

    Bands, rows within bands, the same for columns, digits, and rows with columns are exchanged.
    """
    row, column = np.indices((SIDE, SIDE))
    pattern = (3 * (row % 3) + row // 3 + column) % SIDE
    boards = np.empty((count, SIDE, SIDE), np.int64)
    for board in boards:
        orders = []
        for _ in range(2):
            parts = 3 * rng.permutation(3)[:, None] + rng.permuted(
                np.tile(range(3), (3, 1)), axis=1
            )
            orders.append(parts.ravel())
        mixed = rng.permutation(SIDE)[pattern[np.ix_(*orders)]]
        board[:] = mixed.T if rng.random() < 0.5 else mixed
    return boards


def is_valid(boards: np.ndarray) -> np.ndarray:
    """Whether every row, column and 3x3 block of a board holds every digit once."""
    batch = boards.shape[:-2]
    blocks = boards.reshape(*batch, 3, 3, 3, 3).swapaxes(-2, -3).reshape(*batch, SIDE, SIDE)
    groups = np.concatenate([boards, boards.swapaxes(-1, -2), blocks], axis=-2)
    return (np.sort(groups, axis=-1) == np.arange(SIDE)).all(axis=(-1, -2))


def rules() -> np.ndarray:
    """Independent equations among the 324 of encoded boards: (249, 729), each sums to 1."""
    row, column, digit = np.indices((SIDE, SIDE, SIDE)).reshape(3, -1)
    block = 3 * (row // 3) + column // 3
    pairs = [(row, column), (row, digit), (column, digit), (block, digit)]
    groups = [SIDE * a + b for a, b in pairs]
    A = np.concatenate([np.arange(SIDE**2)[:, None] == group for group in groups]).astype(float)
    return A[_independent(A)]


def _independent(A: np.ndarray) -> list[int]:
    """Rows none of which depends on those before it, by Gram and Schmidt."""
    kept, basis = [], np.empty((0, A.shape[1]))
    for i, row in enumerate(A):
        left = row - basis.T @ (basis @ row)
        left -= basis.T @ (basis @ left)
        if (length := np.linalg.norm(left)) > 1e-8:
            kept.append(i)
            basis = np.vstack([basis, left / length])
    return kept


class Rules(torch.nn.Module):
    """The layer, (B, 729) scores in, (B, 729) entries of boards out."""

    def __init__(self, settings: Settings = Settings()) -> None:
        super().__init__()
        self.settings = settings
        A = torch.from_numpy(rules())
        self.register_buffer("A", A)
        self.register_buffer("b", torch.ones(len(A), dtype=A.dtype))
        self.register_buffer("Q", PENALTY * torch.eye(A.shape[1], dtype=A.dtype))

    def solve(self, scores: torch.Tensor) -> QPResult:
        """Return the whole `torch_bridge.QPResult`."""
        options = {"settings": self.settings, "throw": False}
        return solve_qp(self.Q, -scores, A=self.A, b=self.b, lb=0.0, **options)

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the entries."""
        return self.solve(scores).x


def clues(boards: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """One-hot boards of which `count` random cells are left, flat."""
    ranks = rng.random((len(boards), SIDE**2)).argsort(axis=1)
    shown = (ranks < count).reshape(boards.shape)
    return (encode(boards) * shown[..., None]).reshape(len(boards), -1)


def misread(boards: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """One-hot boards with N(0, noise²) added to every entry, flat."""
    codes = encode(boards).reshape(len(boards), -1)
    return codes + rng.normal(0.0, noise, codes.shape)


def encode(boards: np.ndarray) -> np.ndarray:
    """One-hot code, (*, 9, 9, 9)."""
    return (boards[..., None] == np.arange(SIDE)).astype(float)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both tasks; print a table, write nine.json and nine.png."""
    options = parse(arguments)
    torch.set_num_threads(1)
    out = command.folder(options, "sudoku")
    layer, rng = Rules(), np.random.default_rng(options.seeds[0])
    report = {"machine": command.machine(), "boards": options.boards, "lines": []}
    cases = [("complete", k, clues) for k in options.clues]
    cases += [("correct", noise, misread) for noise in options.noises]
    with command.bar("9x9 boards", len(cases)) as advance:
        for task, level, spoil in cases:
            boards = full_boards(options.boards, rng)
            facts = run(layer, torch.from_numpy(spoil(boards, level, rng)), boards)
            report["lines"].append({"task": task, "level": level, **facts})
            command.save(report, out / "nine.json")
            advance(f"{task} {level}: {facts['valid boards']:.0%} valid")
    for line in report["lines"]:
        print(
            f"{line['task']:9} {line['level']:4} right cells: given {line['cells before']:6.1%}, "
            f"layer {line['cells']:6.1%}; valid boards {line['valid boards']:4.0%}; forward "
            f"{line['forward, s']:.2f} s, backward {line['backward, s']:.2f} s a board"
        )
    draw(out)
    print(f"nine.json and nine.png are in {out}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = command.parser("benchmarks.paper.sudoku.nine", __doc__)
    parser.add_argument("--boards", type=int, default=16, help="in each batch")
    options = parser.parse_args(arguments)
    options.clues, options.noises = CLUES, NOISES
    if options.quick:
        options.boards, options.clues, options.noises = min(options.boards, 2), (60,), (0.3,)
    return options


def run(layer: Rules, scores: torch.Tensor, boards: np.ndarray) -> dict:
    """Solve one batch forward and backward, and compare with the boards."""
    scores.requires_grad_()
    start = perf_counter()
    result = layer.solve(scores)
    middle = perf_counter()
    solved = result.status == Status.SOLVED
    (result.x[solved] * torch.from_numpy(encode(boards)).flatten(1)[solved]).sum().backward()
    end = perf_counter()
    given = scores.detach().numpy().reshape(*boards.shape, SIDE)
    before = np.where(given.any(axis=-1), given.argmax(axis=-1), -1)
    x = result.x.detach().nan_to_num().numpy().reshape(given.shape)
    found = x.argmax(axis=-1)
    return {
        "cells before": float((before == boards).mean()),
        "cells": float((found == boards).mean()),
        "valid boards": float(is_valid(found).mean()),
        "boards without fractions": float((x.max(axis=-1) > 0.99).all(axis=(1, 2)).mean()),
        "unsolved": int((~solved).sum()),
        "iterations": float(result.iterations.double().mean()),
        "forward, s": (middle - start) / len(boards),
        "backward, s": (end - middle) / len(boards),
    }


def draw(folder: Path) -> None:
    """Draw nine.png from nine.json."""
    lines = json.loads((folder / "nine.json").read_text(encoding="utf-8"))["lines"]
    figure = Figure(figsize=(10.5, 4), layout="constrained")
    labels = {"complete": "given cells of 81", "correct": "standard deviation of the noise"}
    for axes, (task, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        ours = [line for line in lines if line["task"] == task]
        levels = [line["level"] for line in ours]
        for name, shown, colour in (
            ("cells before", "right cells, as given", "tab:gray"),
            ("cells", "right cells, layer", "tab:blue"),
            ("valid boards", "valid boards, layer", "tab:orange"),
        ):
            axes.plot(levels, [line[name] for line in ours], "o-", color=colour, label=shown)
        axes.set(xlabel=label, ylabel="share", title=task, ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.suptitle("9x9 Sudoku with the true rules, one QP of 729 variables a board")
    figure.savefig(folder / "nine.png", dpi=150)


if __name__ == "__main__":
    main()
