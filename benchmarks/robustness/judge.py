"""Whether a solver is right: qpbenchmark's residuals, the objective, the verdict.

The three residuals are those by which qpbenchmark judges, in the max norm: of (Gx - h)+, |Ax - b|,
(lb - x)+ and (x - ub)+; |Qx + q + G'z + A'y + z_box|; and the duality gap, that is
|x'Qx + q'x + h'z + b'y + lb'min(z_box, 0) + ub'max(z_box, 0)|. `qpcore.Solution` computes them, and
counts multipliers of the wrong sign into the second, which there would pass unnoticed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import qpcore
from benchmarks.robustness.problems import Case
from benchmarks.robustness.verdicts import CLAIM_NOTHING, SOLVED, right

LEVELS = (1e-3, 1e-6, 1e-9)
"""Low, mid and high accuracy of qpbenchmark."""

LEVEL = {"default": 1e-6, "high": 1e-9}
"""Of the relative residuals, by setting: what it takes to be solved."""

SURE = 1e-6
"""An answer whose relative residuals or objective miss this much was wrong to say solved."""

GOOD, SHORT, INEXACT, FALSE, OPEN = "solved", "short", "inexact", "false", "undecided"
"""Outcomes. Short: right, though not to the level of the setting. Inexact: it says solved, and a
residual or the objective says no. False: the verdict is not true of the problem. The last two are
wrong; undecided is honest."""


class Answer(NamedTuple):
    """What a solver returns for one problem; None for what it does not give."""

    verdict: str
    x: np.ndarray | None = None
    z: np.ndarray | None = None
    """(m,) >= 0, of Gx <= h."""
    y: np.ndarray | None = None
    z_box: np.ndarray | None = None
    """(n,) >= 0 where ub is active, <= 0 where lb is."""
    iterations: int | None = None
    reason: str = ""
    """The solver's own words for how it ended."""


class Record(NamedTuple):
    """An answer, measured; None where there is nothing to measure."""

    setting: str
    group: str
    name: str
    n: int
    m: int
    p: int
    truth: str
    verdict: str
    true: bool
    """Whether the verdict is."""
    seconds: float | None
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
    agrees: bool
    """Whether that is within the tolerance of the problem, 1e-6 but for one or two."""
    reason: str
    gap_in_terms: float | None = None
    """Divided by 1 + the largest term in it, as qpcore's own rule has it."""

    def exact(self, level: float, relative: bool = True) -> bool:
        """Whether it is true, and all three residuals are within the level if it says solved."""
        end = "_relative" if relative else ""
        values = [getattr(self, f"{name}{end}") for name in ("primal", "dual", "gap")]
        within = all(value is not None and value <= level for value in values)
        return self.true and (within or self.verdict != SOLVED)

    def reaches(self, level: float) -> bool:
        """Whether it is solved, with all three residuals within the level by qpcore's own rule."""
        values = self.primal_relative, self.dual_relative, self.gap_in_terms
        within = all(value is not None and value <= level for value in values)
        return self.true and self.verdict == SOLVED and within

    def outcome(self) -> str:
        """One of GOOD, SHORT, INEXACT, FALSE and OPEN."""
        if not self.true:
            return OPEN if self.verdict in CLAIM_NOTHING else FALSE
        if self.verdict != SOLVED:
            return GOOD
        if not (self.agrees and self.exact(SURE)):
            return INEXACT
        return GOOD if self.exact(LEVEL[self.setting]) else SHORT


def judge(case: Case, setting: str, answer: Answer, seconds: float | None) -> Record:
    """Measure an answer on the problem's own data."""
    qp, true = case.qp, answer.verdict in right(case.group, case.name, case.truth)
    values: list[float | None] = [None] * 8
    if answer.x is not None and case.objective is not None:
        with np.errstate(all="ignore"):  # an answer may hold anything
            found = _measures(qp, answer, case.objective)
        values = [float(f"{v:.3g}") if np.isfinite(v) else None for v in found]
    gap_in_terms, error = values.pop(), values[6]
    agrees = error is not None and error <= case.tol
    seconds = None if seconds is None else float(f"{seconds:.4g}")
    sizes = len(qp.q), len(qp.h), len(qp.b)
    problem = setting, case.group, case.name, *sizes, case.truth
    facts = answer.verdict, true, seconds, answer.iterations, *values, agrees, answer.reason
    return Record(*problem, *facts, gap_in_terms)


def _measures(qp: tuple, answer: Answer, reference: float) -> list[float]:
    """Three residuals, the same relative, the error of the objective, the gap beside its terms."""
    solution = _solution(qp, answer)
    residuals = solution.primal_residual(), solution.dual_residual(), solution.duality_gap()
    scales = solution.primal_scale(), solution.dual_scale(), abs(reference)
    relative = [value / (1 + scale) for value, scale in zip(residuals, scales, strict=True)]
    error = abs(solution.objective() - reference) / max(1.0, abs(reference))
    in_terms = residuals[-1] / (1 + solution.gap_scale())
    return [float(value) for value in (*residuals, *relative, error, in_terms)]


def _solution(qp: tuple, answer: Answer) -> qpcore.Solution:
    """An answer from anywhere as a Solution, for its measures."""
    problem, code = qpcore.Problem.parse(*qp), np.zeros((), np.int8)
    sizes = {"x": problem.n, "z": problem.m, "y": problem.p, "z_box": problem.n}
    given = {name: getattr(answer, name) for name in sizes}
    parts = [
        np.full(size, np.nan) if given[name] is None else np.asarray(given[name], float)
        for name, size in sizes.items()
    ]
    return qpcore.Solution(*parts, code, code.astype(np.int32), problem, qpcore.Settings())
