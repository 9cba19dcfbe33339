"""Figure of a results.json: ``python -m benchmarks.paper.classification.plot DIR``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def draw(folder: Path) -> None:
    """Draw curves.png from results.json in the folder."""
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    figure = Figure(figsize=(10.5, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for line in report["summary"]:
        runs = [run["epochs"] for run in report["runs"] if run["model"] == line["model"]]
        epochs = [entry["epoch"] for entry in runs[0]]
        for axes, measure in ((left, "loss"), (right, "test")):
            values = np.array([[entry[measure] for entry in run] for run in runs])
            values = 1 - values if measure == "test" else values
            (curve,) = axes.plot(epochs, values.mean(axis=0), label=line["model"])
            low, high = values.min(axis=0), values.max(axis=0)
            axes.fill_between(epochs, low, high, color=curve.get_color(), alpha=0.15)
    left.set(ylabel="training loss (each its own)", yscale="log")
    left.set_ylim(bottom=1e-6)  # that of the projection ends at zero
    right.set(ylabel="test images read wrongly", yscale="log", ylim=(0.008, 1.0))
    shares = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0]
    right.set_yticks(shares, [f"{share:.0%}" for share in shares])
    right.minorticks_off()
    for axes in (left, right):
        axes.set(xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    seeds = report["summary"][0]["seeds"]
    figure.suptitle(f"8x8 digits, mean and range over {seeds} seeds and splits")
    figure.savefig(folder / "curves.png", dpi=150)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
