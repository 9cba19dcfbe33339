"""What `gpu_check` solves: grids of sizes, problems with every status, the workloads it times."""

from __future__ import annotations

import numpy as np

from benchmarks.workloads import Workload, paper, sudoku

# Around the teams of `plans.THREADS`, and from shared memory into global memory.
GRID = tuple(
    Workload(f"{n} variables, {m} inequalities, {p} equations", paper, 5, n, m, p)
    for n, m, p in ((1, 1, 0), (5, 3, 2), (16, 24, 0), (33, 20, 9), (70, 90, 11), (130, 130, 20))
)

TIMED = (
    Workload("paper 100x100, batch 128", paper, 128, 100, 100),
    Workload("paper 10x10, batch 8192", paper, 8192, 10, 10),
    Workload("n 32, m 64, p 8, batch 4096", paper, 4096, 32, 64, 8),
    Workload("Sudoku layer, batch 1024", sudoku, 1024, 64, 0, 40),
    Workload("n 250, m 250, batch 128", paper, 128, 250, 250),
)

# The most that an H100 should take, forward in float64 at tol 1e-8, in milliseconds.
BARS = {TIMED[0].name: 2.0, TIMED[1].name: 1.0}

QUICK = TIMED[1:3]


def every_status() -> dict[str, dict]:
    """A batch of four for each status: its third problem has it, the others are SOLVED."""
    q = -np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.2]])
    plain = {"Q": np.eye(2), "q": q, "lb": np.zeros(2), "ub": np.full(2, 5.0)}
    free = {"lb": np.full(2, -np.inf), "ub": np.full(2, np.inf)}
    changes = {
        "SOLVED": {},
        "PRIMAL_INFEASIBLE": {"lb": np.full(2, 6.0)},
        "DUAL_INFEASIBLE": {"Q": np.zeros((2, 2))} | free,
        "NOT_CONVEX": {"Q": np.diag([1.0, -1.0])},
        "NONFINITE_INPUT": {"q": np.array([np.nan, 0.0])},
    }
    batches = {}
    for name, change in changes.items():
        batch = {k: np.tile(v, (4, *(1,) * v.ndim)) if k != "q" else v for k, v in plain.items()}
        batch = {k: np.array(v) for k, v in batch.items()}
        for key, value in change.items():
            batch[key][2] = value
        batches[name] = batch
    return batches
