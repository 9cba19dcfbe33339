"""Peers that take dense matrices."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np

from benchmarks.robustness.judge import Answer
from benchmarks.robustness.problems import QP
from benchmarks.robustness.solvers import Solver, rows, split
from benchmarks.robustness.verdicts import (
    INFEASIBLE,
    NONCONVEX,
    REFUSED,
    SOLVED,
    UNBOUNDED,
    UNDECIDED,
)

FLAGS = {
    2: "soft optimal",
    1: "optimal",
    -1: "infeasible",
    -2: "cycle",
    -3: "unbounded",
    -4: "iteration limit",
    -5: "nonconvex",
    -6: "overdetermined initial set",
    -7: "time limit",
}
"""What daqp's exit flags mean."""


class Piqp(Solver):
    """piqp.DenseSolver, a proximal interior-point method."""

    name = "piqp"
    packages = ("piqp",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        Q, G, A = (np.asfortranarray(M) for M in (qp.Q, qp.G, qp.A))
        data = {"P": Q, "c": qp.q, "x_l": qp.lb, "x_u": qp.ub}
        data |= {"G": G, "h_u": qp.h} if len(G) else {}
        data |= {"A": A, "b": qp.b} if len(A) else {}
        return data, tol

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import piqp

        data, tol = ready
        solver = piqp.DenseSolver()
        for name in ("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"):
            if tol:
                setattr(solver.settings, name, tol)
        solver.setup(**data)
        solver.solve()
        return solver.result

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        name = found.info.status.name
        verdicts = {
            "PIQP_SOLVED": SOLVED,
            "PIQP_PRIMAL_INFEASIBLE": INFEASIBLE,
            "PIQP_DUAL_INFEASIBLE": UNBOUNDED,
        }
        z, z_box = found.z_u - found.z_l, found.z_bu - found.z_bl
        verdict, steps = verdicts.get(name, UNDECIDED), int(found.info.iter)
        return Answer(verdict, found.x, z, found.y, z_box, steps, name)


class Proxqp(Solver):
    """proxsuite.proxqp.dense.QP, an augmented Lagrangian method."""

    name = "proxqp"
    packages = ("proxsuite",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        low = np.full(len(qp.h), -np.inf)
        equalities = (qp.A, qp.b) if len(qp.A) else (None, None)
        inequalities = (qp.G, low, qp.h) if len(qp.G) else (None, None, None)
        return (qp.Q, qp.q, *equalities, *inequalities, qp.lb, qp.ub), qp, tol

    def solve(self, ready: Any) -> Any:  # noqa: D102
        from proxsuite import proxqp

        data, qp, tol = ready
        problem = proxqp.dense.QP(len(qp.q), len(qp.b), len(qp.h), True)
        if tol:
            problem.settings.check_duality_gap = True
            for name in ("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"):
                setattr(problem.settings, name, tol)
        problem.init(*data)
        problem.solve()
        return problem.results

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        name, m = found.info.status.name, len(qp.h)
        verdicts = {
            "PROXQP_SOLVED": SOLVED,
            "PROXQP_PRIMAL_INFEASIBLE": INFEASIBLE,
            "PROXQP_DUAL_INFEASIBLE": UNBOUNDED,
        }
        parts = found.x, found.z[:m], found.y, found.z[m:]
        verdict, steps = verdicts.get(name, UNDECIDED), int(found.info.iter)
        return Answer(verdict, *parts, steps, name)


class Daqp(Solver):
    """daqp.solve, a dual active-set method."""

    name = "daqp"
    packages = ("daqp",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        n, m, p = len(qp.q), len(qp.h), len(qp.b)
        upper = np.minimum(np.r_[qp.ub, qp.h, qp.b], 1e30)
        lower = np.maximum(np.r_[qp.lb, np.full(m, -np.inf), qp.b], -1e30)
        sense = np.zeros(n + m + p, np.int32)
        sense[n + m :] = 5  # equality
        settings = {"primal_tol": tol, "dual_tol": tol} if tol else {}
        Q, A = np.ascontiguousarray(qp.Q), np.vstack([qp.G, qp.A])
        return (Q, qp.q, A, upper, lower, sense), settings

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import daqp

        data, settings = ready
        return daqp.solve(*data, **settings)

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        x, _, flag, info = found
        verdicts = {1: SOLVED, -1: INFEASIBLE, -3: UNBOUNDED, -5: NONCONVEX}
        z_box, z, y = np.split(info["lam"], np.cumsum([len(qp.q), len(qp.h)]))
        reason = f"{flag}: {FLAGS.get(flag, 'unknown')}"
        return Answer(verdicts.get(flag, UNDECIDED), x, z, y, z_box, info["iterations"], reason)


class Quadprog(Solver):
    """quadprog.solve_qp, Goldfarb and Idnani's dual active-set method; it takes no tolerance."""

    name = "quadprog"
    packages = ("quadprog",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        full = rows(qp)
        C, limits = np.vstack([qp.A, full.G]), np.r_[qp.b, full.h]
        constraints = (-np.ascontiguousarray(C.T), -limits, len(qp.b)) if len(C) else ()
        return qp.Q, -qp.q, *constraints

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import quadprog

        try:
            return quadprog.solve_qp(*ready)
        except ValueError as error:
            return str(error)

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        if isinstance(found, str):
            verdict = INFEASIBLE if "inconsistent" in found else UNDECIDED
            return Answer(REFUSED if "positive definite" in found else verdict, reason=found)
        x, _, _, iterations, multipliers, _ = found
        y, rest = np.split(multipliers, [len(qp.b)])
        z, z_box = split(qp, rest)
        return Answer(SOLVED, x, z, y, z_box, int(iterations[0]), "returned")


class Qpth(Solver):
    """qpth.QPFunction, the batched interior-point method of OptNet, on a batch of one.

    It reports no status: solved means that it did not print its warning of an inaccurate solution.
    """

    name = "qpth"
    packages = ("qpth", "torch")

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        import torch

        torch.set_num_threads(1)
        full = rows(qp)
        data = qp.Q, qp.q, full.G, full.h, qp.A, qp.b
        # Its default tolerance is 1e-12. Without a gradient it would forget the multipliers.
        return [torch.from_numpy(v).requires_grad_() if v.size else torch.empty(0) for v in data]

    def solve(self, ready: Any) -> Any:  # noqa: D102
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as text:
            warnings.simplefilter("ignore")
            from qpth.qp import QPFunction

            try:
                return QPFunction()(*ready), text.getvalue()
            except RuntimeError as error:
                return None, str(error)

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        x, text = found
        if x is None:
            return Answer(REFUSED if "not SPD" in text else UNDECIDED, reason=text)
        nus, lams = x.grad_fn.nus, x.grad_fn.lams
        y = nus.detach().numpy()[0] if len(qp.b) else np.zeros(0)
        z, z_box = split(qp, lams.detach().numpy()[0])
        x = x.detach().numpy()[0]
        sure = "warning" not in text and np.isfinite(x).all()
        verdict, reason = (SOLVED, "returned") if sure else (UNDECIDED, "warns of its answer")
        return Answer(verdict, x, z, y, z_box, reason=reason)
