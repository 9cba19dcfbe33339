"""Table and figures of a results.json: ``python -m benchmarks.paper.timing.plot DIR``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

COLOURS = {
    "qpcore": "tab:blue",
    "qpth": "tab:orange",
    "gurobi": "tab:red",
    "scipy SLSQP": "tab:purple",
    "linear layer": "tab:gray",
}

EXPLANATION = """\
Milliseconds for the whole batch, median of up to 10 repeats that took turns, {threads} thread(s)
for every solver, float64. Problems: the paper's, n variables and n inequalities. *Ratio*: forward
time over that of qpcore in the same run. *Backward*: gradients of Q, q, G and h, and its share of
the forward time. *Primal*, *objective*: the largest over the batch, relative. Tolerance
{tolerance:.0e}. Gurobi and SciPy take one problem after the other; building Gurobi's models is not
timed. Where fewer problems than the batch were timed, the time is multiplied up."""


def draw(folder: Path) -> str:
    """Write results.md, batch.png and size.png from results.json, and return the table."""
    report = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    text = markdown(report)
    (folder / "results.md").write_text(text, encoding="utf-8")
    against_batch(report).savefig(folder / "batch.png", dpi=150)
    against_size(report).savefig(folder / "size.png", dpi=150)
    return text


def markdown(report: dict) -> str:
    """Turn the report into a page."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# Time of a batch of QPs",
        f"{machine['cpu']}; {machine['time']}; load average before: {machine['load average']}; "
        f"{versions}.",
        EXPLANATION.format(threads=report["threads"], tolerance=report["tolerance"]),
        *(f"{name} left out: {reason}." for name, reason in report["left out"].items()),
    ]
    rows = [
        "| n | batch | solver | forward, ms | ratio | backward, ms | share | primal | objective "
        "| timed |",
        "|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for cell in report["batches"]:
        ours = cell["solvers"][0]["forward"]["median"]
        rows += [_row(cell, facts, ours) for facts in cell["solvers"]]
    return "\n\n".join([*lines, "\n".join(rows)]) + "\n"


def _row(cell: dict, facts: dict, ours: float) -> str:
    """One line of the table."""
    forward, backward = facts["forward"]["median"], facts["backward"]
    cells = [str(cell["n"]), str(cell["batch"]), facts["solver"]]
    cells += [f"{1e3 * forward:.3g}", f"{forward / ours:.2g}"]
    if backward:
        cells += [f"{1e3 * backward['median']:.3g}", f"{backward['median'] / forward:.0%}"]
    else:
        cells += ["-", "-"]
    for name in ("primal residual", "objective error"):
        cells.append(f"{facts[name]:.0e}" if name in facts else "-")
    return "| " + " | ".join([*cells, str(facts["problems timed"])]) + " |"


def against_batch(report: dict) -> Figure:
    """Forward time by batch, an axis for each size: the paper's comparison with Gurobi."""
    sizes = sorted({cell["n"] for cell in report["batches"]})
    figure = Figure(figsize=(3.2 * len(sizes) + 0.6, 3.8), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(1, len(sizes), sharey=True))
    for axes, n in zip(all_axes, sizes, strict=True):
        cells = [cell for cell in report["batches"] if cell["n"] == n]
        names = [name for name in COLOURS if name != "linear layer"]
        for place, name in enumerate(names):
            bars = [(i, _median(cell, name, "forward")) for i, cell in enumerate(cells)]
            shown = [(i + 0.2 * place - 0.3, seconds) for i, seconds in bars if seconds]
            if shown:
                axes.bar(*zip(*shown, strict=True), 0.2, color=COLOURS[name], label=name)
        axes.set_xticks(range(len(cells)), [str(cell["batch"]) for cell in cells])
        axes.set(xlabel="batch", title=f"{n} variables, {n} inequalities", yscale="log")
        axes.grid(alpha=0.3, axis="y")
    all_axes[0].set(ylabel="seconds, forward, whole batch")
    all_axes[0].legend(fontsize="small")
    return figure


def against_size(report: dict) -> Figure:
    """Forward and backward by size at the largest batch: the paper's comparison with a layer."""
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    batch = max(cell["batch"] for cell in report["batches"])
    cells = [cell for cell in report["batches"] if cell["batch"] == batch]
    for name in ("qpcore", "qpth", "linear layer"):
        for task, style in (("forward", "o-"), ("backward", "s--")):
            points = [(cell["n"], _median(cell, name, task)) for cell in cells]
            points = [point for point in points if point[1]]
            if points:
                label = f"{name}, {task}"
                axes.plot(*zip(*points, strict=True), style, color=COLOURS[name], label=label)
    axes.set(xscale="log", yscale="log", xlabel="variables, and as many inequalities")
    sizes = [cell["n"] for cell in cells]
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.minorticks_off()
    axes.set(ylabel="seconds, whole batch", title=f"batch {batch}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def _median(cell: dict, name: str, task: str) -> float | None:
    """Seconds of a solver's task in a cell, if it was timed there."""
    found = [facts[task] for facts in cell["solvers"] if facts["solver"] == name]
    return found[0]["median"] if found and found[0] else None


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
