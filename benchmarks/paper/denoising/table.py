"""The paper's table 1 beside ours, from a results.json."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROWS = {
    "fully connected": ("FC net", 18.5, 29.8),
    "learned differences": ("pure OptNet, learned D", 52.9, 53.3),
    "total variation": ("total variation, best λ", 16.3, 16.5),
    "tuned variation": ("OptNet tuned TV", 13.8, 14.4),
    "tuned program": ("the same, all 199 variables", None, None),
}
"""Row of ours: its name in the paper, and the paper's error on training and test signals."""

EXPLANATION = """\
Mean squared error of the last epoch, training and test signals; ours: mean over the seeds ± their
standard deviation. The penalty of total variation is the best one on the training signals.
*Unsolved*: QPs of all seeds and epochs that the solver gave up; the errors leave them out."""


def markdown(report: dict) -> str:
    """Turn the report into a page."""
    machine, signals = report["machine"], report["signals"]
    lines = [
        "# Denoising",
        f"{signals['training']} training and {signals['test']} test signals, batch "
        f"{signals['batch']}. {machine['cpu']}, {machine['time']}, qpcore {machine['qpcore']} with "
        f"{machine['qpcore threads']} thread(s), torch {machine['torch']}. Load average before: "
        f"{machine['load average']}.",
        EXPLANATION,
    ]
    rows = [
        "| row | paper, train | test | ours, train | test | worst | seeds | epochs | unsolved "
        "| s per epoch |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rows += [_row(name, report) for name in ROWS if _runs(name, report)]
    return "\n\n".join([*lines, "\n".join(rows)]) + "\n"


def _runs(name: str, report: dict) -> list[dict]:
    """Runs of a row; that of total variation has neither seed nor epochs."""
    if name == "total variation":
        return [report["total variation"]["best"] | {"epochs": []}]
    return [run for run in report["runs"] if run["row"] == name]


def _row(name: str, report: dict) -> str:
    """One line of the table."""
    title, *paper = ROWS[name]
    runs = _runs(name, report)
    if name == "total variation":
        title += f" (ours {runs[0]['penalty']})"
    cells = [title, *("-" if error is None else str(error) for error in paper)]
    cells += [_spread([run[part] for run in runs]) for part in ("train", "test")]
    cells.append(f"{max(run['test'] for run in runs):.1f}")
    seconds = [line["seconds"] for run in runs for line in run["epochs"][1:]]
    epochs = str(len(runs[0]["epochs"]) - 1) if seconds else "-"
    cells += [str(len(runs)) if seconds else "-", epochs]
    cells.append(str(sum(run.get("unsolved", 0) for run in runs)))
    cells.append(f"{np.median(seconds):.1f}" if seconds else "-")
    return "| " + " | ".join(cells) + " |"


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    mean = f"{np.mean(values):.2f}"
    return f"{mean} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else mean
