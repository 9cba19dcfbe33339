"""Every solver by name."""

from __future__ import annotations

from benchmarks.robustness.dense import Daqp, Piqp, Proxqp, Qpth, Quadprog
from benchmarks.robustness.solvers import Qpcore
from benchmarks.robustness.sparse import Clarabel, Highs, Osqp

SOLVERS = {
    solver.name: solver
    for solver in (
        Qpcore(),
        Piqp(),
        Proxqp(),
        Clarabel(),
        Daqp(),
        Quadprog(),
        Osqp(),
        Highs(),
        Qpth(),
    )
}
