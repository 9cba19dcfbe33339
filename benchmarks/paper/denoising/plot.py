"""Figures and table of a results.json: ``python -m benchmarks.paper.denoising.plot DIR``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.paper.denoising.table import markdown

COLOURS = {
    "fully connected": "tab:gray",
    "learned differences": "tab:green",
    "tuned variation": "tab:blue",
    "tuned program": "tab:purple",
    "total variation": "tab:orange",
}


def draw(folder: Path) -> str:
    """Write curves.png, signals.png and results.md from results.json, and return the table."""
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    curves(report).savefig(folder / "curves.png", dpi=150)
    signals(report).savefig(folder / "signals.png", dpi=150)
    text = markdown(report)
    (folder / "results.md").write_text(text, encoding="utf-8")
    return text


def curves(report: dict) -> Figure:
    """Error by epoch for each row, and by penalty for total variation."""
    figure = Figure(figsize=(10.5, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    for name in dict.fromkeys(run["row"] for run in report["runs"]):
        _row(left, name, [run["epochs"] for run in report["runs"] if run["row"] == name])
    variation = report["total variation"]
    best = variation["best"]
    label = f"total variation, λ = {best['penalty']}"
    left.axhline(best["test"], color=COLOURS["total variation"], label=label)
    left.set(xlabel="epoch", ylabel="mean squared error (heights 10 to 99)", yscale="log")
    left.set_title("test (line), training as met (dotted); a line for each seed", fontsize="medium")
    left.set_ylim(12.5, 130)
    ticks = [14, 16, 20, 25, 30, 40, 50, 70, 100]
    left.set_yticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    for part, style in (("test", "-"), ("train", ":")):
        colour = COLOURS["total variation"]
        right.plot(variation["penalties"], variation[part], style, color=colour, label=part)
    right.set(xlabel="penalty λ", ylabel="mean squared error", title="total variation")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def _row(axes: Axes, name: str, runs: list[list[dict]]) -> None:
    """Draw one row's errors, a line for each seed."""
    for i, run in enumerate(runs):
        epochs = np.array([line["epoch"] for line in run])
        label = name if i == 0 else None
        colour = COLOURS[name]
        axes.plot(epochs, [line["test"] for line in run], color=colour, linewidth=1, label=label)
        # A training score is the mean over its epoch, so it belongs to the middle of it.
        train = [line["train"] for line in run[1:]]
        axes.plot(epochs[1:] - 0.5, train, ":", color=colour, linewidth=1)


def signals(report: dict) -> Figure:
    """Draw test signals as they were, with noise, and without it again."""
    given = report["shown"]
    figure = Figure(figsize=(10.5, 2.6 * len(given["noisy"])), layout="constrained")
    rows = {"total variation": report["total variation"]["shown"]}
    rows |= {run["row"]: run["shown"] for run in report["runs"] if run["row"] == "tuned variation"}
    all_axes = np.atleast_1d(figure.subplots(len(given["noisy"]), 1, sharex=True))
    for i, axes in enumerate(all_axes):
        axes.plot(given["noisy"][i], ".", color="tab:gray", markersize=3, label="noisy")
        axes.step(range(100), given["clean"][i], "k", where="mid", linewidth=1, label="clean")
        for name, shown in rows.items():
            axes.plot(shown[i], color=COLOURS[name], linewidth=1.3, label=name)
        axes.set(ylabel="height")
        axes.grid(alpha=0.3)
    all_axes[0].legend(fontsize="small", ncols=4)
    all_axes[-1].set(xlabel="position in the signal")
    return figure


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
