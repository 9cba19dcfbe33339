"""Learn 4x4 Sudoku from examples: ``python -m benchmarks.paper.sudoku --help``."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.paper import command
from benchmarks.paper.sudoku import plot
from benchmarks.paper.sudoku.clip import FACTOR
from benchmarks.paper.sudoku.model import SudokuLayer
from benchmarks.paper.sudoku.puzzles import Puzzles, completions, generate, load
from benchmarks.paper.sudoku.train import BATCH, Epoch, train

TRAINING, TEST = 9000, 1000
PUZZLE_SEED = 0
"""Of the generated puzzles; the seeds of the command line are those of the layer's first A."""

COLUMNS = ("epoch", "train MSE", "error", "test MSE", "error", "seconds", "unsolved QPs")

RESULTS = command.RESULTS / "sudoku"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a layer per clip and seed, show the epochs, write results.json and two figures."""
    options = parse(arguments)
    # Torch only adds and scales small tensors here. Its threads would gain nothing, and would wait
    # for work by spinning on the cores that the threads of qpcore need.
    torch.set_num_threads(1)
    training, test = select(options)
    console = Console()
    console.print(
        f"{len(training)} training and {len(test)} test puzzles "
        f"({'generated' if options.data is None else 'the authors'}), batches of {BATCH}"
    )
    warm_up()
    groups, reports, ends = {}, [], []
    for clip in options.clip:
        runs = groups[setting(clip)] = []
        for seed in options.seeds:
            layer = SudokuLayer(torch.Generator().manual_seed(seed), clip)
            start = rules_of(layer)
            title = f"seed {seed}, {setting(clip)}"
            runs.append(learn(layer, training, test, options.epochs, title, console))
            ends.append((start, rules_of(layer)))
            reports.append(summary(seed, clip, runs[-1], layer))
    out = command.folder(options, "sudoku")
    plot.plot_curves(groups, out / "curves.png")
    plot.plot_rules(*ends[0], out / "rules.png")
    report = {
        "puzzles": describe(options, training, test),
        "machine": command.machine(),
        "summary": [spread(clip, groups[setting(clip)]) for clip in options.clip],
        "runs": reports,
    }
    (out / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"results.json, curves.png and rules.png are in {out}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper.sudoku", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="use the authors' mini4x4.npz")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run for each")
    parser.add_argument(
        "--clip",
        type=float,
        nargs="+",
        default=[FACTOR],
        metavar="FACTOR",
        help="longest gradient of one problem, in medians of its batch; inf: as the authors",
    )
    parser.add_argument("--quick", action="store_true", help="450 puzzles, 2 epochs, for tests")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: results/sudoku")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error(f"--epochs is {options.epochs}; expected 1 or more")
    if not all(clip > 0 for clip in options.clip):
        parser.error(f"--clip is {options.clip}; expected positive numbers, or inf")
    if options.quick:
        options.epochs = min(options.epochs, 2)
    return options


def select(options: argparse.Namespace) -> tuple[Puzzles, Puzzles]:
    """Training and test puzzles: the first 9000 and the next 1000, or a few of both."""
    training, test = (3 * BATCH, BATCH) if options.quick else (TRAINING, TEST)
    puzzles = load(options.data) if options.data else generate(training + test, PUZZLE_SEED)
    return puzzles[:training], puzzles[-test:]


def warm_up() -> None:
    """Compile forward and backward, so that no epoch's seconds contain it."""
    board = torch.zeros(1, 4, 4, 4, dtype=torch.float64)
    SudokuLayer()(board).sum().backward()


def setting(clip: float) -> str:
    """Name of a way to train."""
    return f"gradients up to {clip:g} medians" if math.isfinite(clip) else "as the authors"


def learn(
    layer: SudokuLayer,
    training: Puzzles,
    test: Puzzles,
    epochs: int,
    title: str,
    console: Console,
) -> list[Epoch]:
    """Train one layer under a table of its epochs and a bar that shows the loss."""
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    progress = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    bar = progress.add_task("", total=epochs * -(-len(training) // BATCH), loss="")
    lines = []
    with Live(Group(table, progress, ""), console=console):
        for news in train(layer, training, test, epochs):
            if isinstance(news, Epoch):
                lines.append(news)
                table.add_row(*row(news))
            else:
                progress.update(bar, advance=1, loss=f"{news:.4f}")
    return lines


def row(line: Epoch) -> list[str]:
    """One epoch as text."""
    scores = [line.train, line.test]
    cells = [
        text
        for score in scores
        for text in ((f"{score.mse:.5f}", f"{score.error:.1%}") if score else ("", ""))
    ]
    failures = sum(score.failures for score in scores if score)
    return [str(line.epoch), *cells, f"{line.seconds:.1f}", str(failures)]


def summary(seed: int, clip: float, run: list[Epoch], layer: SudokuLayer) -> dict:
    """One run as facts for the results; JSON has no infinity, so no clip is null."""
    return {
        "seed": seed,
        "clip": clip if math.isfinite(clip) else None,
        "epochs": [asdict(line) for line in run],
        "worst part of a rule outside the rows of A": plot.missing_rules(rules_of(layer))[0],
    }


def spread(clip: float, runs: Sequence[Sequence[Epoch]]) -> dict:
    """Mean over the seeds and their standard deviation, for each epoch."""
    facts: dict = {"clip": clip if math.isfinite(clip) else None, "seeds": len(runs), "epochs": []}
    for lines in zip(*runs, strict=True):
        entry: dict = {"epoch": lines[0].epoch}
        for name in ("error", "mse"):
            values = [getattr(line.test, name) for line in lines]
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            entry[f"test {name}"] = {"mean": float(np.mean(values)), "spread": deviation}
        facts["epochs"].append(entry)
    return facts


def rules_of(layer: SudokuLayer) -> np.ndarray:
    """Copy of the layer's A."""
    return layer.A.detach().numpy().copy()


def describe(options: argparse.Namespace, training: Puzzles, test: Puzzles) -> dict:
    """What the puzzles are, as facts for the results."""
    seen = {puzzle.tobytes() for puzzle in training.features}
    repeated = sum(puzzle.tobytes() in seen for puzzle in test.features)
    return {
        "source": "authors" if options.data else f"generated, seed {PUZZLE_SEED}",
        "training": len(training),
        "test": len(test),
        "test puzzles that are also training puzzles": repeated,
        "test puzzles with one solution": int((completions(test.features) == 1).sum()),
        "mean clues": float(training.features.sum() / len(training)),
    }


if __name__ == "__main__":
    main()
