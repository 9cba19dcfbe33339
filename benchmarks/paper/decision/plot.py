"""Figure of a results.json: ``python -m benchmarks.paper.decision.plot DIR``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter


def draw(folder: Path) -> None:
    """Draw regret.png from results.json in the folder."""
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    figure = Figure(figsize=(10.5, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    lines, seeds = report["summary"], len({run["seed"] for run in report["runs"]})
    places = np.arange(len(lines))
    for name, shift in (("two stages", -0.15), ("through the decision", 0.15)):
        means = [line[name]["mean"] for line in lines]
        spreads = [line[name]["spread"] for line in lines]
        left.bar(places + shift, means, 0.3, yerr=spreads, capsize=3, label=name)
    left.set_xticks(places, [str(line["degree"]) for line in lines])
    left.set(xlabel="degree of the values in the features (1: prediction can be right)")
    left.set(ylabel="test regret, share of the best value")
    for line in lines:
        runs = [run["epochs"] for run in report["runs"] if run["degree"] == line["degree"]]
        ratios = np.array([[e["test"] / run[0]["test"] for e in run] for run in runs])
        right.plot(ratios.mean(axis=0), label=f"degree {line['degree']}")
    right.set(xlabel="epoch of training through the decision", ylabel="test regret / two stages")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(f"Knapsacks of predicted value, mean (bars: and spread) over {seeds} seeds")
    figure.savefig(folder / "regret.png", dpi=150)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
