"""Solvers of single problems, called in a loop over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.interface import TOLERANCE, Answer, Peer
from benchmarks.rows import multipliers, rows
from benchmarks.workloads import Data


class Loop(Peer):
    """A solver of single problems that writes its answers into common arrays."""

    probed = True

    def prepare(self, data: Data) -> Any:
        """Lists, so that the loop indexes no arrays: (data, [arguments of each problem])."""
        return data, [self.arrange(one) for one in data.problems()]

    def arrange(self, one: Data) -> Any:
        """Bring one problem into the solver's own layout."""
        raise NotImplementedError

    def forward(self, ready: Any) -> Answer:  # noqa: D102
        answer = self.blank(ready[0], np.empty)
        self.solve_range(ready, answer, 0, len(answer.x))
        return answer

    def blank(self, data: Data, empty: Callable[[tuple[int, ...], type], np.ndarray]) -> Answer:
        """Make arrays for the answer with empty(shape, dtype)."""
        batch, n = data.q.shape
        m, p = (0 if limit is None else limit.shape[-1] for limit in (data.h, data.b))
        x, z, y, z_box = (empty((batch, size), float) for size in (n, m, p, n))
        return Answer(x, empty((batch,), bool), z, y, z_box)

    def solve_range(self, ready: Any, answer: Answer, start: int, stop: int) -> None:
        """Solve the problems start..stop into the answer."""
        raise NotImplementedError


class Piqp(Loop):
    """piqp.DenseSolver, one object for the whole loop, which takes new data by `update`."""

    packages = ("piqp",)

    def arrange(self, one: Data) -> dict[str, np.ndarray]:  # noqa: D102
        names = {"Q": "P", "q": "c", "G": "G", "h": "h_u", "A": "A", "b": "b"}
        kept = {names[k]: np.asfortranarray(v) for k, v in one._asdict().items() if k in names}
        kept = {name: value for name, value in kept.items() if value.size}
        bounds = {"x_l": one.lb, "x_u": one.ub}
        return kept | {k: v.copy() for k, v in bounds.items() if np.isfinite(v).any()}

    def solve_range(self, ready: Any, answer: Answer, start: int, stop: int) -> None:  # noqa: D102
        import piqp

        solver, given = piqp.DenseSolver(), ready[1]
        for name in ("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"):
            setattr(solver.settings, name, TOLERANCE)
        x, solved, *multipliers = answer[:5]
        z, y, z_box = map(np.asarray, multipliers)
        for i in range(start, stop):
            change = solver.update if i > start else solver.setup
            change(**given[i])
            solved[i] = solver.solve() == piqp.PIQP_SOLVED
            found = solver.result
            x[i], y[i], z[i], z_box[i] = found.x, found.y, found.z_u, found.z_bu - found.z_bl


class Daqp(Loop):
    """daqp.solve, an active-set method in C."""

    packages = ("daqp",)

    def arrange(self, one: Data) -> tuple:
        """Bounds first, if there are any, then G and A; sense 5 is an equation."""
        n, m, p = len(one.q), len(one.h), len(one.b)
        bounded = bool(np.isfinite([one.lb, one.ub]).any())
        upper, lower = np.r_[one.h, one.b], np.r_[np.full(m, -np.inf), one.b]
        if bounded:
            upper, lower = np.r_[one.ub, upper], np.r_[one.lb, lower]
        sense = np.zeros(len(upper), np.int32)
        sense[len(upper) - p :] = 5
        rows = np.ascontiguousarray(np.vstack([one.G, one.A]).reshape(m + p, n))
        limits = np.minimum(upper, 1e30), np.maximum(lower, -1e30)
        return one.Q.copy(), one.q.copy(), rows, *limits, sense

    def solve_range(self, ready: Any, answer: Answer, start: int, stop: int) -> None:  # noqa: D102
        import daqp

        data, given = ready
        x, solved, z, y, z_box = answer[:5]
        n, m = x.shape[1], z.shape[1]
        first = n if data.lb is not None or data.ub is not None else 0
        z_box[start:stop] = 0
        for i in range(start, stop):
            x[i], _, flag, info = daqp.solve(*given[i], primal_tol=TOLERANCE)
            multiplier = info["lam"]
            z[i], y[i] = multiplier[first : first + m], multiplier[first + m :]
            z_box[i, :first] = multiplier[:first]
            solved[i] = flag == 1


class Quadprog(Loop):
    """quadprog.solve_qp, Goldfarb and Idnani's active-set method; it takes no tolerance."""

    packages = ("quadprog",)

    def prepare(self, data: Data) -> Any:
        """Bounds are rows; equations come first."""
        problems = rows(data).problems()
        return data, [self.arrange(one) for one in problems]

    def arrange(self, one: Data) -> tuple:
        """Minimise 0.5 x'Qx - a'x subject to C'x >= b."""
        C, b = -np.vstack([one.A, one.G]), -np.r_[one.b, one.h]
        return one.Q.copy(), -one.q, np.asfortranarray(C.T), b, len(one.b)

    def blank(self, data: Data, empty: Callable[[tuple[int, ...], type], np.ndarray]) -> Answer:
        """The multipliers of all rows stand in z until they are read."""
        return super().blank(rows(data), empty)

    def solve_range(self, ready: Any, answer: Answer, start: int, stop: int) -> None:  # noqa: D102
        import quadprog

        given, p = ready[1], answer.y.shape[1]
        for i in range(start, stop):
            try:
                x, _, _, _, multiplier, _ = quadprog.solve_qp(*given[i])
            except ValueError:  # infeasible, or Q not positive definite
                x, multiplier = np.full(len(given[i][1]), np.nan), np.full(len(given[i][3]), np.nan)
            answer.x[i], answer.y[i], answer.z[i] = x, multiplier[:p], multiplier[p:]
            answer.solved[i] = np.isfinite(x[0])

    def read(self, data: Data, found: Answer) -> Answer:
        """Make multipliers of bounds of those of their rows."""
        z, z_box = multipliers(data, np.asarray(found.z))
        return found._replace(z=z, z_box=z_box)
