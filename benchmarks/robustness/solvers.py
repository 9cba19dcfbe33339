"""What the comparison asks of a solver; ours; and how peers are given bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.interface import Packaged
from benchmarks.robustness.judge import Answer
from benchmarks.robustness.problems import QP
from benchmarks.robustness.verdicts import INFEASIBLE, NONCONVEX, SOLVED, UNBOUNDED, UNDECIDED

TOLERANCES = {"default": None, "high": 1e-9}
"""Settings by name: None is what a solver comes with; the other is asked for where one can ask, as
absolute and relative tolerance alike, of feasibility, stationarity and duality gap."""


class Solver(Packaged):
    """A solver of single problems, through its own Python interface, on one thread."""

    name: str
    drops_limits = False
    """Whether it knows that limits of 1e20 and more are none."""

    def prepare(self, qp: QP, tol: float | None) -> Any:
        """Bring a problem into the solver's own layout; not timed."""
        raise NotImplementedError

    def solve(self, ready: Any) -> Any:
        """Set up and solve: this is timed."""
        raise NotImplementedError

    def read(self, qp: QP, found: Any) -> Answer:
        """Read the result; not timed."""
        raise NotImplementedError


class Qpcore(Solver):
    """qpcore.solve."""

    name = "qpcore"
    packages = ("qpcore",)
    drops_limits = True

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        import qpcore

        return qp, qpcore.Settings(tol=tol, threads=1)

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import qpcore

        qp, settings = ready
        return qpcore.solve(*qp, settings=settings, throw=False)

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        from qpcore import Status

        status = Status(int(found.status))
        verdicts = {
            Status.SOLVED: SOLVED,
            Status.PRIMAL_INFEASIBLE: INFEASIBLE,
            Status.DUAL_INFEASIBLE: UNBOUNDED,
            Status.NOT_CONVEX: NONCONVEX,
        }
        parts = found.x, found.z, found.y, found.z_box, int(found.iterations)
        return Answer(verdicts.get(status, UNDECIDED), *parts, status.name)


def rows(qp: QP) -> QP:
    """Bounds as further rows of G, for solvers that know none."""
    I, up, low = np.eye(len(qp.q)), np.isfinite(qp.ub), np.isfinite(qp.lb)  # noqa: E741
    G, h = np.vstack([qp.G, I[up], -I[low]]), np.r_[qp.h, qp.ub[up], -qp.lb[low]]
    return qp._replace(G=G, h=h)


def split(qp: QP, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers of the rows above as z and z_box."""
    up, low = np.isfinite(qp.ub), np.isfinite(qp.lb)
    z, above, below = np.split(multipliers, np.cumsum([len(qp.h), up.sum()]))
    z_box = np.zeros(len(qp.q))
    z_box[up] += above
    z_box[low] -= below
    return z, z_box


def warm_ups() -> list[QP]:
    """Problems of several sizes, with and without rows and bounds, to compile for beforehand."""
    rng = np.random.default_rng(0)
    problems = []
    for n in (2, 40, 250):
        some, none = rng.standard_normal((2, n)), np.zeros((0, n))
        for G, A, bound in ((some, some[:1], 1.0), (none, none, np.inf)):
            lb, ub = np.full(n, -bound), np.full(n, bound)
            q, h, b = np.ones(n), np.ones(len(G)), np.zeros(len(A))
            problems.append(QP(np.eye(n), q, G, h, A, b, lb, ub))
    return problems
