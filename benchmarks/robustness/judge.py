"""Whether a solver is right: qpbenchmark's residuals, the objective, the verdict.

The three residuals are those of qpsolvers' `Solution`, which qpbenchmark judges by, in the max
norm: max of (Gx - h)+, |Ax - b|, (lb - x)+, (x - ub)+; |Qx + q + G'z + A'y + z_box|; and
|x'Qx + q'x + h'z + b'y + lb'z_box- + ub'z_box+|. `qpcore.Solution` computes them; it also counts
multipliers of the wrong sign into the second, which there pass unnoticed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import qpcore
from benchmarks.robustness.problems import EITHER, REFUSED, SOLVED, UNDECIDED, Case

LEVELS = (1e-3, 1e-6, 1e-9)
"""Low, mid and high accuracy of qpbenchmark."""

OPEN = {UNDECIDED, REFUSED, EITHER}
"""Verdicts that claim nothing: where they are not right they are not wrong either."""

RIGHT, INEXACT, FALSE, OPENED = "solved", "inexact", "false", "undecided"
"""Outcomes. Inexact: solved, it says, and an objective or a residual says no; false: a verdict
that is not true of the problem. Both are wrong."""


class Answer(NamedTuple):
    """What a solver returns for one problem."""

    verdict: str
    """One of those in `problems`."""
    x: np.ndarray | None = None
    z: np.ndarray | None = None
    """(m,) >= 0, of Gx <= h."""
    y: np.ndarray | None = None
    z_box: np.ndarray | None = None
    """(n,) negative part of lb, positive part of ub."""
    iterations: int | None = None
    reason: str = ""
    """The solver's own word for how it ended."""


class Record(NamedTuple):
    """A solver's answer to a problem, measured; None where there is nothing to measure."""

    setting: str
    set: str
    name: str
    verdict: str
    seconds: float | None
    """None if it was stopped."""
    iterations: int | None
    primal: float | None
    dual: float | None
    gap: float | None
    """Absolute, as qpbenchmark has them."""
    primal_relative: float | None
    dual_relative: float | None
    """Divided by 1 + the largest term in them."""
    gap_relative: float | None
    """Divided by 1 + |objective of the reference|."""
    objective: float | None
    """|value - reference| / max(1, |reference|)."""
    reason: str


def measure(case: Case, setting: str, answer: Answer, seconds: float | None) -> Record:
    """Judge x and the multipliers on the problem's own data; whatever is not there is NaN."""
    values: list[float | None] = [None] * 7
    if answer.x is not None and case.objective is not None:
        values = [v if np.isfinite(v) else None for v in _measures(case, answer)]
    facts = (answer.verdict, seconds, answer.iterations, *values, answer.reason)
    return Record(setting, case.set, case.name, *facts)


def outcome(case: Case, record: Record, level: float, relative: bool = True) -> str:
    """RIGHT, INEXACT, FALSE or OPENED, asking for residuals of this level."""
    if record.verdict not in case.fair:
        return OPENED if record.verdict in OPEN else FALSE
    if record.verdict != SOLVED:
        return RIGHT
    return RIGHT if exact(record, level, relative) and agrees(case, record) else INEXACT


def exact(record: Record, level: float, relative: bool) -> bool:
    """Whether all three residuals are within the level."""
    names = ("primal", "dual", "gap")
    found = [getattr(record, f"{name}_relative" if relative else name) for name in names]
    return all(value is not None and value <= level for value in found)


def agrees(case: Case, record: Record) -> bool:
    """Whether the objective is that of the reference."""
    return record.objective is not None and record.objective <= case.tol


def _measures(case: Case, answer: Answer) -> list[float]:
    solution = _solution(case, answer)
    residuals = [
        float(value)
        for value in (
            solution.primal_residual(),
            solution.dual_residual(),
            solution.duality_gap(),
        )
    ]
    size = abs(case.objective or 0.0)
    scales = float(solution.primal_scale()), float(solution.dual_scale()), size
    relative = [value / (1 + scale) for value, scale in zip(residuals, scales, strict=True)]
    error = abs(float(solution.objective()) - (case.objective or 0.0)) / max(1.0, size)
    return [*residuals, *relative, error]


def _solution(case: Case, answer: Answer) -> qpcore.Solution:
    """An answer from anywhere as a Solution, for its measures."""
    qp = case.qp
    sizes = {"x": len(qp.q), "z": len(qp.h), "y": len(qp.b), "z_box": len(qp.q)}
    given = {name: getattr(answer, name) for name in sizes}
    x, z, y, z_box = (
        np.full(size, np.nan) if given[name] is None else np.asarray(given[name], float)
        for name, size in sizes.items()
    )
    code = np.zeros((), np.int8)
    problem = qpcore.Problem.parse(*qp)
    return qpcore.Solution(x, z, y, z_box, code, code.astype(np.int32), problem, qpcore.Settings())
