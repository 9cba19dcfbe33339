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
    """Of the answers to the first problems, (B,) each, NaN where a solver does not say enough.

    `primal`, `dual` and `gap` are those of `qpcore.Solution`, divided by 1 + the size of their
    terms; `objective` is |f(x) - f(x*)| / (1 + |f(x*)|), with x* from `reference`.
    """

    def __init__(self, data: Data, answer: Answer) -> None:
        count = len(answer.x)
        data = data.first(count)
        self.answer, self.count, self.certified = answer, count, answer.z is not None
        solution = as_solution(data, answer)
        with np.errstate(all="ignore"):  # an answer may hold anything
            self.value = solution.objective()
            self.primal = solution.primal_residual() / (1 + solution.primal_scale())
            self.dual = solution.dual_residual() / (1 + solution.dual_scale())
            self.gap = solution.duality_gap() / (1 + solution.gap_scale())
        self.objective = np.full(count, np.nan)
        if not self.certified:
            self.dual, self.gap = self.objective, self.objective

    def compare(self, best: Residuals) -> None:
        """Fill in `objective`."""
        value = best.value[: self.count]
        self.objective = np.abs(self.value - value) / (1 + np.abs(value))

    def worst(self) -> np.ndarray:
        """(B,) largest of the measures that say whether x is optimal; NaN if they cannot."""
        if not self.certified:
            return np.maximum(self.primal, self.objective)
        return np.maximum(np.maximum(self.primal, self.dual), self.gap)

    def failed(self) -> np.ndarray:
        """(B,) bool: the solver says so, or a measure does."""
        return ~(self.answer.solved & (self.worst() <= FAILED))


def reference(data: Data, found: list[Residuals]) -> Residuals | None:
    """For each problem the best of the answers that come with multipliers; None without any."""
    certified = [r for r in found if r.certified]
    if not any(r.count == len(data.q) for r in certified):
        return None
    error = np.full((len(certified), len(data.q)), np.inf)
    for row, residuals in zip(error, certified, strict=True):
        row[: residuals.count] = np.nan_to_num(residuals.worst(), nan=np.inf)
    pick = [certified[k].answer for k in error.argmin(axis=0)]
    parts = {
        name: np.stack([np.asarray(getattr(answer, name))[i] for i, answer in enumerate(pick)])
        for name in ("x", "z", "y", "z_box")
    }
    return Residuals(data, Answer(solved=np.ones(len(pick), bool), **parts))


def gradient_errors(
    data: Data, best: Answer, dx: np.ndarray, gradients: dict[str, np.ndarray]
) -> np.ndarray:
    """Error of the gradients that there are, against exact ones.

    One number for each of the first problems, and one more if the batch shares arguments: the
    largest |g - g*| in the gradients of all arguments over the largest |g*|. An argument alone
    would not do: at a vertex the gradient of Q is zero.
    """
    shared = data.shared() & gradients.keys()
    own, few = gradients.keys() - shared, min(GRADIENTS, len(data.q))
    exact = []
    for i, one in enumerate(data.problems()[: None if shared else few]):
        parts = best.x[i], best.solved[i], best.z[i], best.y[i], best.z_box[i]
        exact.append(exact_gradients(one, Answer(*parts), dx[i]))
    pairs = [[(gradients[name][i], exact[i][name]) for name in own] for i in range(few)]
    if shared:
        pairs.append([(gradients[k], np.sum([g[k] for g in exact], axis=0)) for k in shared])
    return np.array([_error(problem) for problem in pairs])


def _error(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    largest = max((np.abs(exact).max(initial=0) for _, exact in pairs), default=0.0)
    errors = (np.abs(found - exact).max(initial=0) for found, exact in pairs)
    return max(errors, default=0.0) / (largest or 1.0)


def exact_gradients(one: Data, answer: Answer, dx: np.ndarray) -> dict[str, np.ndarray]:
    """Gradients of one problem from its active limits: |z| > distance at a nearby answer.

    With the active rows C of [G; I; A] as equations Cx = d, x and their multipliers z solve one
    linear system K [x; z] = [-q; d], and K u = [dx; 0] gives dQ = -(u x' + x u')/2, dq = -u,
    dC = -(z u' + v x'), dd = v, [u; v] for u.
    """
    n, z_box = len(one.q), np.asarray(answer.z_box)
    rows = answer.z > one.h - one.G @ answer.x
    upper, lower = z_box > one.ub - answer.x, -z_box > answer.x - one.lb
    I = np.eye(n)  # noqa: E741
    C = np.vstack([one.G[rows], I[upper], I[lower], one.A])
    d = np.r_[one.h[rows], one.ub[upper], one.lb[lower], one.b]
    K = np.block([[one.Q, C.T], [C, np.zeros((len(d), len(d)))]])
    right = np.stack([np.r_[-one.q, d], np.r_[dx, np.zeros(len(d))]], axis=1)
    (x, u), (z, v) = (part.T for part in np.split(np.linalg.solve(K, right), [n]))
    dC = -(np.outer(z, u) + np.outer(v, x))
    cuts = np.cumsum([rows.sum(), upper.sum(), lower.sum()])
    out = {"Q": -0.5 * (np.outer(u, x) + np.outer(x, u)), "q": -u}
    out |= {name: np.zeros_like(getattr(one, name)) for name in ("G", "h", "A", "b", "lb", "ub")}
    out["G"][rows], _, _, out["A"][:] = np.split(dC, cuts)
    out["h"][rows], out["ub"][upper], out["lb"][lower], out["b"][:] = np.split(v, cuts)
    return out


def as_solution(data: Data, answer: Answer) -> qpcore.Solution:
    """An answer from anywhere as a Solution, for its measures."""
    problem = qpcore.Problem.parse(*data)
    batch, codes = data.q.shape[0], np.zeros(len(data.q), np.int8)
    sizes = {"z": problem.m, "y": problem.p, "z_box": problem.n}
    parts = [
        np.zeros((batch, size)) if getattr(answer, name) is None else getattr(answer, name)
        for name, size in sizes.items()
    ]
    settings = qpcore.Settings()
    return qpcore.Solution(answer.x, *parts, codes, codes.astype(np.int32), problem, settings)
