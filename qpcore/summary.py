"""A Solution in words: one problem with its residuals, a batch with its counts and worst cases."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from qpcore.status import Status

if TYPE_CHECKING:
    from qpcore.solution import Solution

RESIDUALS = {
    "primal residual": ("primal_residual", "primal_scale"),
    "dual residual": ("dual_residual", "dual_scale"),
    "duality gap": ("duality_gap", "gap_scale"),
}
"""What SOLVED is about: label, and the methods of a residual and of its scale."""

# Longer lines are wrapped.
COLUMNS = 80

Rows = list[tuple[str, str]]


def summarise(solution: Solution) -> str:
    """Text of `Solution.summary`: labels and what they say, in two columns."""
    problem = solution.problem
    size = f"n = {problem.n}, m = {problem.m}, p = {problem.p}, {problem.dtype}"
    rows = _of_one(solution, size) if problem.batch_shape == () else _of_batch(solution, size)
    width = max(len(label) for label, _ in rows) + 2
    return "\n".join(
        fill(text, COLUMNS, initial_indent=f"{label:{width}}", subsequent_indent=" " * width)
        for label, text in rows
    )


def _of_one(solution: Solution, size: str) -> Rows:
    status = Status(int(solution.status))
    rows = [("status", status.name)]
    if status is not Status.SOLVED:
        rows.append(("what to try", status.remedy))
    if solution.closest:
        rows.append(("answer", "that of the closest feasible problem"))
    rows += [
        ("size", size),
        ("iterations", f"{int(solution.iterations)}"),
        ("objective", f"{float(solution.objective()):.8g}"),
    ]
    tol = solution.settings.tolerance(solution.problem.dtype)
    for label, (residual, scale) in RESIDUALS.items():
        value = float(getattr(solution, residual)())
        allowed = tol * (1 + float(getattr(solution, scale)()))
        beside = "" if np.isnan(value) else f" {'<=' if value <= allowed else '> '} {allowed:.1e}"
        rows.append((label, f"{value:.1e}{beside}"))
    return rows


def _of_batch(solution: Solution, size: str) -> Rows:
    status, batch = solution.status, solution.problem.batch_shape
    rows = [("problems", f"{status.size}, batch shape {batch}"), ("size", size)]
    if not status.size:
        return rows
    values, counts = np.unique(status, return_counts=True)
    rows += [(Status(v).name, f"{c}") for v, c in zip(values.tolist(), counts, strict=True)]
    if solution.closest.any():
        rows.append(("answered by the closest", f"{int(solution.closest.sum())}"))
    least, middle, most = np.quantile(solution.iterations, [0, 0.5, 1])
    rows.append(("iterations", f"min {least:g}, median {middle:g}, max {most:g}"))
    if solution.solved.any():
        rows += _worst(solution)
    failed = np.argwhere(~solution.solved)
    if len(failed):
        first = tuple(failed[0].tolist())
        status = Status(int(solution.status[first]))
        rows += [("first failed", f"{first} {status.name}"), ("what to try", status.remedy)]
    return rows


def _worst(solution: Solution) -> Rows:
    """The largest residuals relative to their scales among the SOLVED, and where they occur."""
    tol = solution.settings.tolerance(solution.problem.dtype)
    rows = [("of the SOLVED", f"largest residual / (1 + scale), where tol = {tol:g}")]
    for label, (residual, scale) in RESIDUALS.items():
        with np.errstate(invalid="ignore"):  # inf / inf where numbers overflowed
            relative = getattr(solution, residual)() / (1 + getattr(solution, scale)())
        relative = np.where(solution.solved, relative, -1.0)
        at = tuple(int(i) for i in np.unravel_index(relative.argmax(), relative.shape))
        rows.append((label, f"{relative[at]:.1e} at {at}"))
    return rows
