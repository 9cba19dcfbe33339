"""Networks that know nothing of constraints: ``python -m benchmarks.paper.sudoku.baselines``.

The authors' two baselines, fully connected and convolutional, on the same puzzles with the same
loss. They fit what they have seen, and break rules on what they have not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from benchmarks.paper import command
from benchmarks.paper.sudoku.__main__ import describe, select
from benchmarks.paper.sudoku.puzzles import Puzzles
from benchmarks.paper.sudoku.train import Epoch, Score, Tally, batches

LEARNING_RATE = 1e-3
HIDDEN = 256
"""Width of the fully connected network."""

WIDTH = 32
"""Filters of each convolution; the authors have 512, at 256 times the work."""


class FullyConnected(nn.Module):
    """Four hidden layers; the authors' have 100 each, and a ReLU behind the last layer as well.

    That ReLU is left out: behind it an output that is negative for all puzzles never learns again.
    """

    def __init__(self, width: int = HIDDEN) -> None:
        super().__init__()
        sizes = (64, *[width] * 4)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(width, 64)

    def forward(self, puzzles: torch.Tensor) -> torch.Tensor:
        """Probabilities of the digits, (B, 4, 4, 4), like the puzzles."""
        x = puzzles.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return self.last(x).view_as(puzzles).softmax(dim=3)


class Convolutional(nn.Module):
    """Ten 3x3 convolutions and one more, padded, over rows and columns; digits are channels."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        sizes = (4, *[width] * 10)
        pairs = [nn.Conv2d(a, b, kernel_size=3, padding=1) for a, b in pairwise(sizes)]
        self.layers = nn.ModuleList(pairs)
        self.last = nn.Conv2d(width, 4, kernel_size=3, padding=1)

    def forward(self, puzzles: torch.Tensor) -> torch.Tensor:
        """Probabilities of the digits, (B, 4, 4, 4), like the puzzles."""
        x = puzzles.permute(0, 3, 1, 2)
        for layer in self.layers:
            x = layer(x).relu()
        return self.last(x).permute(0, 2, 3, 1).softmax(dim=3)


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "fully connected": lambda width: FullyConnected(),
    "convolutions": Convolutional,
}
"""By width, which is that of the convolutions."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both with each seed; write baselines.json and baselines.png."""
    options = parse(arguments)
    torch.set_num_threads(1)
    training, test = select(options)
    out = command.folder(options, "sudoku")
    report = {
        "puzzles": describe(options, training, test),
        "machine": command.machine(),
        "width": options.width,
        "runs": [],
    }
    for name in options.models:
        for seed in options.seeds:
            torch.manual_seed(seed)
            model, lines = MODELS[name](options.width), list[Epoch]()
            with command.bar(f"{name}, seed {seed}", options.epochs + 1) as advance:
                for line in train(model, training, test, options.epochs):
                    lines.append(line)
                    advance(f"test error {line.test.error:.1%}, {line.seconds:.1f} s")
            run = {"model": name, "seed": seed, "epochs": [asdict(line) for line in lines]}
            report["runs"].append(run)
            command.save(report, out / "baselines.json")
    draw(out)
    print(f"baselines.json and baselines.png are in {out}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = command.parser("benchmarks.paper.sudoku.baselines", __doc__, seeds=3)
    parser.add_argument("--data", type=Path, metavar="DIR", help="use the authors' mini4x4.npz")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--width", type=int, default=WIDTH, help="filters of a convolution")
    options = parser.parse_args(arguments)
    if options.quick:
        options.epochs, options.seeds, options.width = min(options.epochs, 2), options.seeds[:1], 8
    return options


def train(model: nn.Module, training: Puzzles, test: Puzzles, epochs: int) -> Iterator[Epoch]:
    """Yield an `Epoch` before the first and after every epoch; all in float32."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    yield Epoch(0, None, evaluate(model, test), 0.0)
    for epoch in range(1, epochs + 1):
        tally, start = Tally(), perf_counter()
        for puzzles, labels in batches(training):
            codes = model(puzzles.float())
            loss = (codes - labels.float()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count(tally, codes, labels)
        seconds = perf_counter() - start
        yield Epoch(epoch, tally.score(), evaluate(model, test), seconds)


@torch.no_grad()
def evaluate(model: nn.Module, puzzles: Puzzles) -> Score:
    """Score a model as it is."""
    tally = Tally()
    for features, labels in batches(puzzles):
        count(tally, model(features.float()), labels)
    return tally.score()


def count(tally: Tally, codes: torch.Tensor, labels: torch.Tensor) -> None:
    """Count a batch; a network leaves nothing unsolved."""
    tally.add(codes.detach().double().flatten(1), torch.zeros(len(labels)), labels)


def draw(folder: Path) -> None:
    """Draw baselines.png from baselines.json, with the layer's results.json if it is there."""
    runs = json.loads((folder / "baselines.json").read_text(encoding="utf-8"))["runs"]
    figure = Figure(figsize=(10.5, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    colours = dict(zip(MODELS, ("tab:gray", "tab:purple"), strict=True))
    groups = {name: [r["epochs"] for r in runs if r["model"] == name] for name in MODELS}
    if (folder / "results.json").exists():
        layer = json.loads((folder / "results.json").read_text(encoding="utf-8"))["runs"]
        groups["QP layer"] = [run["epochs"] for run in layer if run["clip"] is not None]
        colours["QP layer"] = "tab:blue"
    for one, (measure, label) in zip(
        axes,
        {"error": "boards that break a rule", "mse": "mean squared error"}.items(),
        strict=True,
    ):
        for name, epochs in groups.items():
            for part, style in (("test", "-"), ("train", ":")):
                if epochs:
                    _curve(one, epochs, part, measure, style, colours[name], f"{name}, {part}")
        one.set(xlabel="epoch", ylabel=label)
        one.grid(alpha=0.3)
    axes[0].set(ylim=(-0.02, 1.02))
    axes[1].set(yscale="log")
    axes[0].legend(fontsize="small")
    figure.suptitle("4x4 Sudoku, mean and range over the seeds")
    figure.savefig(folder / "baselines.png", dpi=150)


def _curve(
    axes: Axes,
    runs: Sequence[Sequence[dict]],
    part: str,
    measure: str,
    style: str,
    colour: str,
    label: str,
) -> None:
    """Draw the mean over the seeds, and their range."""
    lines = [[e for e in run if e[part]] for run in runs]
    epochs = np.array([e["epoch"] for e in lines[0]]) - (0.5 if part == "train" else 0.0)
    values = np.array([[e[part][measure] for e in line] for line in lines])
    axes.plot(epochs, values.mean(axis=0), style, color=colour, label=label)
    axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15)


if __name__ == "__main__":
    main()
