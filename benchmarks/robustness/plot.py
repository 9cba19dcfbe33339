"""Performance profiles (Dolan & Moré 2002): who solves how much within a multiple of the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.robustness.judge import GOOD
from benchmarks.robustness.results import Run, key

STYLES = {
    "qpcore": "#c1121f",
    "piqp": "#1f77b4",
    "proxqp": "#2ca02c",
    "clarabel": "#9467bd",
    "daqp": "#ff7f0e",
    "quadprog": "#8c564b",
    "osqp": "#e377c2",
    "highs": "#17becf",
    "qpth": "#7f7f7f",
}


def profile(runs: Sequence[Run], setting: str) -> tuple[np.ndarray, np.ndarray]:
    """(solvers, problems) seconds over the best solver's, and the problems' keys.

    Infinite where not solved. A problem that nobody solves counts all the same.
    """
    keys = sorted({key(record) for run in runs for record in run.of(setting)})
    seconds = np.full((len(runs), len(keys)), np.inf)
    column = {name: j for j, name in enumerate(keys)}
    for i, run in enumerate(runs):
        for record in run.of(setting):
            if record.outcome() == GOOD and record.seconds is not None:
                seconds[i, column[key(record)]] = max(record.seconds, 1e-7)
    best = seconds.min(axis=0)
    return seconds / np.where(np.isfinite(best), best, 1.0), np.array(keys)


def draw(runs: Sequence[Run], settings: Sequence[str], path: Path) -> None:
    """One panel for each setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(settings), 4), layout="constrained")
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for panel, setting in zip(panels, settings, strict=True):
        here = [run for run in runs if run.of(setting)]
        ratios, keys = profile(here, setting)
        end = max(10.0, 2 * ratios[np.isfinite(ratios)].max(initial=1.0))
        for run, ratio in zip(here, ratios, strict=True):
            x = np.sort(ratio[np.isfinite(ratio)])
            share = np.arange(1, len(x) + 1) / len(keys)
            x, share = np.r_[1.0, x, end], np.r_[0.0, share, share[-1] if len(x) else 0.0]
            width = 2.4 if run.solver == "qpcore" else 1.3
            label = f"{run.solver}, {100 * share[-1]:.0f} %"
            panel.step(x, share, where="post", color=STYLES[run.solver], lw=width, label=label)
        panel.set(
            xscale="log", xlim=(1, end), ylim=(0, 1), title=f"{setting}, {len(keys)} problems"
        )
        panel.set_xlabel("CPU time over that of the fastest solver of the problem")
        panel.grid(alpha=0.3)
        panel.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
    panels[0].set_ylabel("share of problems solved")
    figure.savefig(path, dpi=130)
