"""The solvers, each behind the same small interface."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.robustness.judge import Answer
from benchmarks.robustness.problems import (
    INFEASIBLE,
    NONCONVEX,
    QP,
    SOLVED,
    UNBOUNDED,
    UNDECIDED,
)

TOLERANCES = {"default": None, "high": 1e-9}
"""Settings: what the solver comes with, and the tolerance that it is asked for."""


class Solver:
    """A solver of single problems."""

    name: str
    packages: tuple[str, ...] = ()

    def prepare(self, qp: QP, tol: float | None) -> Any:
        """Bring a problem into the solver's own layout; not timed."""
        raise NotImplementedError

    def solve(self, ready: Any) -> Any:
        """Solve it, setup included: this is timed."""
        raise NotImplementedError

    def answer(self, qp: QP, found: Any) -> Answer:
        """Read the result; not timed."""
        raise NotImplementedError


class Qpcore(Solver):
    """qpcore.solve."""

    name = "qpcore"
    packages = ("qpcore",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        import qpcore

        return qp, qpcore.Settings(tol=tol, threads=1)

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import qpcore

        qp, settings = ready
        return qpcore.solve(*qp, settings=settings, throw=False)

    def answer(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        from qpcore import Status

        status = Status(int(found.status))
        verdict = {
            Status.SOLVED: SOLVED,
            Status.PRIMAL_INFEASIBLE: INFEASIBLE,
            Status.DUAL_INFEASIBLE: UNBOUNDED,
            Status.NOT_CONVEX: NONCONVEX,
        }.get(status, UNDECIDED)
        parts = found.x, found.z, found.y, found.z_box, int(found.iterations)
        return Answer(verdict, *parts, status.name)


SOLVERS = {solver.name: solver for solver in (Qpcore(),)}


def warm_ups() -> list[QP]:
    """Problems of several sizes, with and without rows and bounds, to compile for beforehand."""
    rng = np.random.default_rng(0)
    problems = []
    for n in (2, 40, 160):
        some, none = rng.standard_normal((2, n)), np.zeros((0, n))
        for G, A, bound in ((some, some[:1], 1.0), (none, none, np.inf)):
            lb, ub = np.full(n, -bound), np.full(n, bound)
            problems.append(
                QP(np.eye(n), np.ones(n), G, np.ones(len(G)), A, np.zeros(len(A)), lb, ub)
            )
    return problems
