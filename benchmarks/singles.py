"""Solvers of single problems with results of their own kind, which are read after the clock."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.interface import TOLERANCE, Answer, Peer
from benchmarks.robustness.problems import QP
from benchmarks.robustness.solvers import Solver
from benchmarks.robustness.verdicts import SOLVED
from benchmarks.workloads import Data

SMALL = 1e-12
"""What SciPy is asked for: its tests of convergence say less than those of the other solvers, and
answers for 1e-8 miss the residuals by far."""


class Single(Peer):
    """A solver of the robustness comparison, set up and called for one problem after the other."""

    probed = True

    def __init__(self, solver: Solver, name: str, against: str) -> None:
        super().__init__(name, against=against)
        self.solver = solver
        self.packages = solver.packages

    def prepare(self, data: Data) -> list:  # noqa: D102
        problems = (QP(*map(np.ascontiguousarray, one)) for one in data.problems())
        return [self.solver.prepare(qp, TOLERANCE) for qp in problems]

    def forward(self, ready: list) -> list:  # noqa: D102
        return [self.solver.solve(one) for one in ready]

    def read(self, data: Data, found: list) -> Answer:
        """What a solver does not return is NaN."""
        answers = [
            self.solver.read(QP(*one), result)
            for one, result in zip(data.problems(), found, strict=True)
        ]
        full = data.full()
        parts = {"x": full.q, "z": full.h, "y": full.b, "z_box": full.q}
        arrays = {
            name: np.array(
                [
                    np.full(like.shape[1], np.nan) if part is None else part
                    for part in (getattr(answer, name) for answer in answers)
                ]
            ).reshape(like.shape)
            for name, like in parts.items()
        }
        return Answer(solved=np.array([a.verdict == SOLVED for a in answers]), **arrays)


class Scipy(Peer):
    """scipy.optimize.minimize, a general nonlinear solver, with exact derivatives.

    It starts at zero, and its multipliers are not asked for.
    """

    packages = ("scipy",)
    probed = True

    def __init__(self, method: str, name: str, against: str) -> None:
        super().__init__(name, against=against)
        self.method = method

    def prepare(self, data: Data) -> list[dict]:
        """Arguments of `minimize`."""
        return [self._arguments(one) for one in data.problems()]

    def _arguments(self, one: Data) -> dict[str, Any]:
        from scipy.optimize import Bounds, LinearConstraint

        Q, q = np.ascontiguousarray(one.Q), one.q.copy()
        arguments: dict[str, Any] = {
            "fun": lambda x: 0.5 * x @ Q @ x + q @ x,
            "jac": lambda x: Q @ x + q,
            "x0": np.zeros(len(q)),
            "method": self.method,
        }
        limits = [(one.G, -np.inf, one.h), (one.A, one.b, one.b)]
        arguments["constraints"] = [LinearConstraint(*v) for v in limits if len(v[0])]
        if np.isfinite([one.lb, one.ub]).any():
            arguments["bounds"] = Bounds(one.lb, one.ub)
        if self.method == "SLSQP":
            arguments |= {"tol": SMALL, "options": {"maxiter": 1000}}
        else:
            small = dict.fromkeys(("gtol", "xtol", "barrier_tol"), SMALL)
            arguments |= {"hess": lambda x: Q, "options": {**small, "maxiter": 1000}}
        return arguments

    def forward(self, ready: list[dict]) -> list:  # noqa: D102
        from scipy.optimize import minimize

        return [minimize(**arguments) for arguments in ready]

    def read(self, data: Data, found: list) -> Answer:
        """SLSQP tells success; trust-constr success or that the step has become too short."""
        return Answer(np.array([f.x for f in found]), np.array([f.success for f in found], bool))
