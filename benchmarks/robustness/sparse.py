"""Peers that take sparse matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csc_matrix

from benchmarks.robustness.judge import Answer
from benchmarks.robustness.problems import QP
from benchmarks.robustness.solvers import Solver, rows, split
from benchmarks.robustness.verdicts import (
    EITHER,
    INFEASIBLE,
    NONCONVEX,
    REFUSED,
    SOLVED,
    UNBOUNDED,
    UNDECIDED,
)


class Clarabel(Solver):
    """clarabel.DefaultSolver, a homogeneous interior-point method."""

    name = "clarabel"
    packages = ("clarabel",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        import clarabel

        settings = clarabel.DefaultSettings()
        settings.verbose, settings.max_threads = False, 1
        if tol:
            settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = tol
        full = rows(qp)
        cones = [clarabel.ZeroConeT(len(qp.b))] if len(qp.b) else []
        cones += [clarabel.NonnegativeConeT(len(full.h))] if len(full.h) else []
        A, b = csc_matrix(np.vstack([qp.A, full.G])), np.r_[qp.b, full.h]
        return csc_matrix(np.triu(qp.Q)), qp.q, A, b, cones, settings

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import clarabel

        return clarabel.DefaultSolver(*ready).solve()

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        name = str(found.status)
        verdicts = {"Solved": SOLVED, "PrimalInfeasible": INFEASIBLE, "DualInfeasible": UNBOUNDED}
        y, multipliers = np.split(np.array(found.z), [len(qp.b)])
        z, z_box = split(qp, multipliers)
        verdict = verdicts.get(name, UNDECIDED)
        return Answer(verdict, np.array(found.x), z, y, z_box, found.iterations, name)


class Osqp(Solver):
    """osqp.OSQP, an operator-splitting method."""

    name = "osqp"
    packages = ("osqp",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        bounded = np.isfinite(qp.lb) | np.isfinite(qp.ub)
        A = csc_matrix(np.vstack([qp.A, qp.G, np.eye(len(qp.q))[bounded]]))
        lower = np.r_[qp.b, np.full(len(qp.h), -np.inf), qp.lb[bounded]]
        upper = np.r_[qp.b, qp.h, qp.ub[bounded]]
        settings = {"eps_abs": tol, "eps_rel": tol} if tol else {}
        return (csc_matrix(np.triu(qp.Q)), qp.q, A, lower, upper), settings

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import osqp

        data, settings = ready
        solver = osqp.OSQP()
        try:
            solver.setup(*data, verbose=False, **settings)
        except osqp.OSQPException as error:
            return error
        return solver.solve(raise_error=False)

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        import osqp

        if isinstance(found, Exception):
            nonconvex = osqp.SolverError.OSQP_NONCVX_ERROR
            verdict = NONCONVEX if found.args[0] == nonconvex else UNDECIDED
            return Answer(verdict, reason=f"setup: {osqp.SolverError(found.args[0]).name}")
        name = osqp.SolverStatus(found.info.status_val).name
        verdicts = {
            "OSQP_SOLVED": SOLVED,
            "OSQP_PRIMAL_INFEASIBLE": INFEASIBLE,
            "OSQP_DUAL_INFEASIBLE": UNBOUNDED,
            "OSQP_NON_CVX": NONCONVEX,
        }
        y, z, rest = np.split(found.y, np.cumsum([len(qp.b), len(qp.h)]))
        z_box = np.zeros(len(qp.q))
        z_box[np.isfinite(qp.lb) | np.isfinite(qp.ub)] = rest
        verdict = verdicts.get(name, UNDECIDED)
        return Answer(verdict, found.x, z, y, z_box, found.info.iter, name)


class Highs(Solver):
    """highspy.Highs: an active-set method for QPs, and the simplex method for LPs."""

    name = "highs"
    packages = ("highspy",)

    def prepare(self, qp: QP, tol: float | None) -> Any:  # noqa: D102
        import highspy

        model, A = highspy.HighsModel(), csc_matrix(np.vstack([qp.A, qp.G]))
        lp = model.lp_
        lp.num_col_, lp.num_row_ = len(qp.q), len(qp.b) + len(qp.h)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = qp.q, qp.lb, qp.ub
        lp.row_lower_ = np.r_[qp.b, np.full(len(qp.h), -np.inf)]
        lp.row_upper_ = np.r_[qp.b, qp.h]
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.num_row_, lp.a_matrix_.num_col_ = A.shape
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = A.indptr, A.indices, A.data
        Q = csc_matrix(np.tril(qp.Q))
        if Q.nnz:
            model.hessian_.dim_ = len(qp.q)
            model.hessian_.format_ = highspy.HessianFormat.kTriangular
            hessian = model.hessian_
            hessian.start_, hessian.index_, hessian.value_ = Q.indptr, Q.indices, Q.data
        return model, tol

    def solve(self, ready: Any) -> Any:  # noqa: D102
        import highspy

        model, tol = ready
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("threads", 1)
        for name in ("primal", "dual"):
            if tol:
                solver.setOptionValue(f"{name}_feasibility_tolerance", tol)
        statuses = solver.passModel(model), solver.run()
        return solver, highspy.HighsStatus.kError in statuses

    def read(self, qp: QP, found: Any) -> Answer:  # noqa: D102
        solver, refused = found
        name, info = solver.getModelStatus().name, solver.getInfo()
        verdicts = {
            "kOptimal": SOLVED,
            "kInfeasible": INFEASIBLE,
            "kUnbounded": UNBOUNDED,
            "kUnboundedOrInfeasible": EITHER,
        }
        if refused:  # its log would say why; of the nasty ones, because they are nonconvex
            return Answer(REFUSED, reason=f"error, {name}")
        solution, steps = solver.getSolution(), info.simplex_iteration_count
        steps += max(info.qp_iteration_count, 0)
        verdict = verdicts.get(name, UNDECIDED)
        if not solution.value_valid or not solution.dual_valid:
            return Answer(verdict, iterations=steps, reason=name)
        y, z = np.split(-np.array(solution.row_dual), [len(qp.b)])
        z_box = -np.array(solution.col_dual)
        return Answer(verdict, np.array(solution.col_value), z, y, z_box, steps, name)
