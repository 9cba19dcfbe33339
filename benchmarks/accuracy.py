"""How good an answer is: the same measures for every solver, on the original data in float64."""

from __future__ import annotations

import numpy as np

import qpcore
from benchmarks.interface import Answer
from benchmarks.workloads import Data

FAILED = 1e-6
"""A problem counts as failed where a residual exceeds this: a hundred times the tolerance."""

GRADIENTS = 64
"""Problems, from the first on, whose gradients are compared with exact ones."""


class Residuals:
    """Of a batch of answers, (B,) each, NaN where a solver does not give what the measure needs.

    `primal`, `dual` and `gap` are those of `qpcore.Solution`, divided by 1 + the size of their
    terms; `objective` is |f(x) - f(x*)| / (1 + |f(x*)|), with x* from `reference`.
    """

    def __init__(self, data: Data, answer: Answer) -> None:
        z = np.zeros_like(data.h) if answer.z is None else answer.z
        solution = _solution(data, answer.x, z)
        self.answer = answer
        self.value = solution.objective()
        self.primal = solution.primal_residual() / (1 + solution.primal_scale())
        self.dual = solution.dual_residual() / (1 + solution.dual_scale())
        self.gap = solution.duality_gap() / (1 + solution.gap_scale())
        self.objective = np.full(len(data.q), np.nan)
        if answer.z is None:
            self.dual, self.gap = self.objective, self.objective

    def compare(self, best: Residuals) -> None:
        """Fill in `objective`."""
        self.objective = np.abs(self.value - best.value) / (1 + np.abs(best.value))

    def worst(self) -> np.ndarray:
        """(B,) largest of the measures that say whether x is optimal; NaN if they cannot."""
        if self.answer.z is None:
            return np.maximum(self.primal, self.objective)
        return np.maximum(np.maximum(self.primal, self.dual), self.gap)

    def failed(self) -> np.ndarray:
        """(B,) bool: the solver says so, or a measure does."""
        return ~(self.answer.solved & (self.worst() <= FAILED))


def reference(data: Data, found: list[Residuals]) -> Residuals | None:
    """For each problem the best of the answers that come with multipliers; None without any."""
    certified = [r for r in found if r.answer.z is not None]
    if not certified:
        return None
    error = np.stack([np.nan_to_num(r.worst(), nan=np.inf) for r in certified])
    pick = error.argmin(axis=0), np.arange(len(data.q))
    x = np.stack([r.answer.x for r in certified])[pick]
    z = np.stack([np.asarray(r.answer.z) for r in certified])[pick]
    return Residuals(data, Answer(x, z, np.ones(len(x), bool)))


def gradient_errors(
    data: Data, best: Answer, dx: np.ndarray, gradients: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Error of the gradients of Q, q, G, h, in the first problems, against exact ones.

    For each problem the largest, over the four, of max|g - g*| / max|g*|.
    """
    errors = []
    for i in range(len(gradients[0])):
        one = Data(*(array[i] for array in data))
        exact = exact_gradients(one, best.x[i], best.z[i], dx[i])
        pairs = zip((g[i] for g in gradients), exact, strict=True)
        errors.append(max(np.abs(g - e).max() / (np.abs(e).max() or 1.0) for g, e in pairs))
    return np.array(errors)


def exact_gradients(
    data: Data, x: np.ndarray, z: np.ndarray, dx: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Gradients of one problem from its active rows: z > h - Gx at a nearby answer (x, z).

    With the active rows as equations x and z solve one linear system K [x; z] = [-q; h], and
    K u = [dx; 0] gives dQ = -(u x' + x u')/2, dq = -u, dG = -(z u' + v x'), dh = v, [u; v] for u.
    """
    n, active = len(x), z > data.h - data.G @ x
    G, h = data.G[active], data.h[active]
    K = np.block([[data.Q, G.T], [G, np.zeros((len(h), len(h)))]])
    right = np.stack([np.r_[-data.q, h], np.r_[dx, np.zeros(len(h))]], axis=1)
    (x, u), (z, v) = (part.T for part in np.split(np.linalg.solve(K, right), [n]))
    dG, dh = np.zeros_like(data.G), np.zeros_like(data.h)
    dG[active], dh[active] = -(np.outer(z, u) + np.outer(v, x)), v
    return -0.5 * (np.outer(u, x) + np.outer(x, u)), -u, dG, dh


def _solution(data: Data, x: np.ndarray, z: np.ndarray) -> qpcore.Solution:
    """An answer from anywhere as a Solution, for its measures."""
    batch, n = data.q.shape
    codes, none = np.zeros(batch, np.int8), np.zeros((batch, 0))
    problem = qpcore.Problem.parse(*data)
    settings = qpcore.Settings()
    return qpcore.Solution(
        x, z, none, np.zeros((batch, n)), codes, codes.astype(np.int32), problem, settings
    )
