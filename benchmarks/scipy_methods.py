"""Problems and methods of the comparison with SciPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, minimize

import qpcore

TOLERANCE = 1e-8
"""Asked of every method where it takes one."""


class Data(NamedTuple):
    """A batch of problems; Q, G, A, lb and ub are shared where they have no batch axis."""

    Q: np.ndarray
    q: np.ndarray
    G: np.ndarray | None = None
    h: np.ndarray | None = None
    A: np.ndarray | None = None
    b: np.ndarray | None = None
    lb: np.ndarray | None = None
    ub: np.ndarray | None = None

    def one(self, i: int) -> Data:
        """Take problem i out of the batch."""
        ranks = Data(2, 1, 2, 1, 2, 1, 1, 1)
        return Data(
            *(a[i] if a is not None and a.ndim > r else a for a, r in zip(self, ranks, strict=True))
        )


@dataclass(frozen=True)
class Workload:
    """Problems that every method solves."""

    name: str
    count: int
    make: Callable[[np.random.Generator, int], Data]
    """(generator, count) -> Data; its docstring says what the problems are."""
    linear: bool = False


class Found(NamedTuple):
    """What a method returns for one problem."""

    x: np.ndarray
    solved: bool
    iterations: int


def random_qp(n: int, m: int) -> Callable[[np.random.Generator, int], Data]:
    """Make the generator of the OptNet paper's timing experiment at one size."""

    def make(rng: np.random.Generator, count: int) -> Data:
        L = rng.random((count, n, n))
        G = rng.standard_normal((count, m, n))
        h = (G @ rng.standard_normal((count, n, 1)))[..., 0] + rng.random((count, m))
        Q = L @ L.swapaxes(1, 2) + 1e-3 * np.eye(n)
        return Data(Q, rng.standard_normal((count, n)), G, h)

    make.__doc__ = f"The paper's random QPs with {n} variables and {m} inequalities."
    return make


def portfolio(rng: np.random.Generator, count: int) -> Data:
    """Long-only portfolios of 50 assets: a factor model of risk, expected returns vary."""
    n = 50
    factors = rng.standard_normal((n, 5))
    Q = factors @ factors.T + np.diag(rng.uniform(0.1, 1.0, n))
    q = -rng.standard_normal((count, n))
    return Data(Q, q, A=np.ones((1, n)), b=np.ones(1), lb=np.zeros(n))


def knapsack(rng: np.random.Generator, count: int) -> Data:
    """Relaxed knapsacks, linear programs: 50 things, 3 capacities, values vary."""
    n = 50
    G = rng.uniform(1.0, 10.0, (3, n))
    q = -rng.uniform(1.0, 10.0, (count, n))
    return Data(np.zeros((n, n)), q, G, 0.3 * G.sum(axis=1), lb=np.zeros(n), ub=np.ones(n))


WORKLOADS = (
    Workload("QP, 10 variables, 10 inequalities", 64, random_qp(10, 10)),
    Workload("QP, 100 variables, 100 inequalities", 8, random_qp(100, 100)),
    Workload("portfolio, 50 variables", 32, portfolio),
    Workload("knapsack LP, 50 variables", 32, knapsack, linear=True),
)


def with_qpcore(data: Data) -> Found:
    """Solve by qpcore.solve."""
    settings = qpcore.Settings(tol=TOLERANCE, threads=1)
    found = qpcore.solve(*data, settings=settings, throw=False)
    return Found(found.x, found.solved, found.iterations)


def with_slsqp(data: Data) -> Found:
    """Solve by sequential least squares; it starts at the origin, moved into the bounds."""
    rules = []
    if data.G is not None:
        rules.append(
            {"type": "ineq", "fun": lambda x: data.h - data.G @ x, "jac": lambda x: -data.G}
        )
    if data.A is not None:
        rules.append({"type": "eq", "fun": lambda x: data.A @ x - data.b, "jac": lambda x: data.A})
    options = {"maxiter": 1000, "ftol": TOLERANCE}
    return _minimize(data, "SLSQP", constraints=rules, options=options)


def with_trust_constr(data: Data) -> Found:
    """Solve by SciPy's trust-region interior point method, which also gets the Hessian."""
    rules = []
    if data.G is not None:
        rules.append(LinearConstraint(data.G, -np.inf, data.h))
    if data.A is not None:
        rules.append(LinearConstraint(data.A, data.b, data.b))
    options = {"maxiter": 1000, "gtol": TOLERANCE, "xtol": TOLERANCE, "barrier_tol": TOLERANCE}
    hessian = {"hess": lambda x: data.Q}
    return _minimize(data, "trust-constr", constraints=rules, options=options, **hessian)


def _minimize(data: Data, method: str, **options: Any) -> Found:
    n = len(data.q)
    lb, ub = (np.full(n, v) if a is None else a for a, v in ((data.lb, -np.inf), (data.ub, np.inf)))
    found = minimize(
        lambda x: 0.5 * x @ data.Q @ x + data.q @ x,
        np.clip(np.zeros(n), lb, ub),
        jac=lambda x: data.Q @ x + data.q,
        bounds=Bounds(lb, ub),
        method=method,
        **options,
    )
    return Found(found.x, bool(found.success), found.nit)


def with_highs(data: Data) -> Found:
    """Solve a linear program by HiGHS."""
    bounds = np.stack([data.lb, data.ub], axis=1)
    found = linprog(data.q, data.G, data.h, data.A, data.b, bounds, method="highs")
    return Found(found.x, found.success, found.nit)


METHODS = {
    "qpcore, one by one": with_qpcore,
    "SLSQP": with_slsqp,
    "trust-constr": with_trust_constr,
    "HiGHS": with_highs,
}

LINEAR_ONLY = {"HiGHS"}
"""Methods that take linear programs alone."""


def errors(problem: Data, x: np.ndarray, best: float) -> tuple[float, float]:
    """Most by which x breaks a constraint, and its objective above the best one, both relative."""
    Q, q, G, h, A, b, lb, ub = problem
    broken = [0.0]
    if G is not None:
        broken.append(np.max((G @ x - h) / (1 + np.abs(h))))
    if A is not None:
        broken.append(np.max(np.abs(A @ x - b) / (1 + np.abs(b))))
    broken += [np.max(lb - x)] if lb is not None else []
    broken += [np.max(x - ub)] if ub is not None else []
    objective = 0.5 * x @ Q @ x + q @ x
    return float(max(broken)), float((objective - best) / (1 + abs(best)))
