"""Pictures of a run: bars of the times, and their growth on log axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.standing import BACKWARD, FORWARD, each, exponent, series, short

RED, PALE, GREY = "#c1121f", "#e5989b", "#8d99ae"
COLOURS = {
    "qpcore": RED,
    "qpcore-1": PALE,
    "qpcore-mixed": "#780000",
    "qpcore-mixed-1": "#d8a7a7",
    "qpth": "#6c757d",
    "piqp-forked": "#1f77b4",
    "daqp-forked": "#ff7f0e",
}
LABELS = {
    "batch": ("batch size, 10 variables and rows", "seconds of a batch"),
    "n": ("n = m", "seconds per problem"),
    "m": ("m, 40 variables", "seconds per problem"),
}


def draw(report: dict, folder: Path) -> list[Path]:
    """Write the pictures that the results allow, and return their paths."""
    paths = []
    for task, name in ((FORWARD, "forward.png"), (BACKWARD, "backward.png")):
        if any(task in peer["times"] for w in report["workloads"] for peer in w["peers"]):
            bars(report["workloads"], task, folder / name)
            paths.append(folder / name)
    if report["sweeps"]:
        growth(report["sweeps"], folder / "growth.png")
        paths.append(folder / "growth.png")
    return paths


def bars(workloads: list[dict], task: str, path: Path) -> None:
    """One panel a workload, solvers in the order of their times, shortest first."""
    from matplotlib.figure import Figure

    columns = min(3, len(workloads))
    rows = -(-len(workloads) // columns)
    most = max(len(w["peers"]) for w in workloads)
    figure = Figure(figsize=(5 * columns, rows * (1 + 0.2 * most)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, workload in zip(panels, workloads, strict=False):
        bar_panel(panel, workload, task)
    for panel in panels[len(workloads) :]:
        panel.axis("off")
    figure.suptitle(f"{task.capitalize()}, µs per problem; pale: ours on one core; * some failed")
    figure.savefig(path, dpi=110)


def bar_panel(panel: Any, workload: dict, task: str) -> None:
    """The bars of one workload."""
    useful = (p for p in workload["peers"] if p.get("failures", 0) < p["problems timed"])
    timed = [(each(p, task), p) for p in useful]
    timed = sorted(((s, p) for s, p in timed if s), key=lambda pair: pair[0])
    names = [p["peer"] + ("" if p.get("failures") == 0 else "*") for _, p in timed]
    values = [1e6 * seconds for seconds, _ in timed]
    colours = [GREY if p["against"] else RED if p["threads"] > 1 else PALE for _, p in timed]
    drawn = panel.barh(range(len(names)), values, color=colours)
    panel.bar_label(drawn, [short(v) for v in values], padding=2, fontsize="x-small")
    panel.set_yticks(range(len(names)), names, fontsize="x-small")
    panel.invert_yaxis()
    panel.set_title(workload["name"], fontsize="medium")
    panel.set_xscale("log")
    panel.tick_params(axis="x", which="minor", labelbottom=False)
    panel.margins(x=0.25)
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)


def growth(sweeps: dict[str, list[dict]], path: Path) -> None:
    """One panel a series, each line with its exponent."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(sweeps), 4.2), layout="constrained")
    panels = figure.subplots(1, len(sweeps), squeeze=False)[0]
    for panel, (over, sweep) in zip(panels, sweeps.items(), strict=True):
        for peer in sweep[0]["peers"]:
            x, seconds = series(sweep, over, peer["peer"])
            if not len(x):
                continue
            slope = f" ^{exponent(x, seconds):.2f}" if len(x) > 3 else ""
            wide = 2.2 if peer["peer"] == "qpcore" else 1.3
            style = {"color": COLOURS.get(peer["peer"], GREY), "lw": wide, "marker": "o", "ms": 3}
            panel.plot(x, seconds, label=f"{peer['peer']}{slope}", **style)
        xlabel, ylabel = LABELS[over]
        panel.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
        panel.grid(alpha=0.3, which="both")
        panel.legend(frameon=False, fontsize="small")
    figure.suptitle("Time forward, and its exponent in the upper half of each series")
    figure.savefig(path, dpi=110)
