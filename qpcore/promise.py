"""SOLVED is a promise about the data as given: it is kept, or taken back."""

from __future__ import annotations

import numpy as np

from qpcore.solution import Solution
from qpcore.status import Status

# Answers with larger numbers than this are measured again on the data as given.
LARGE = {np.dtype(np.float64): 1e6, np.dtype(np.float32): 1e2}

# Of so many numbers the sum of squares is found faster than the largest.
FEW = 4096


def take_back(solution: Solution) -> None:
    """Make NUMERICAL_ERROR of SOLVED where rounding broke its promise.

    The kernels' residuals have the rounding errors of their terms. Beside numbers as large as LARGE
    these can exceed the tolerance, so there the measures of `Solution` have the last word.
    """
    dtype = solution.problem.dtype
    parts = (solution.x, solution.z, solution.y, solution.z_box)
    # A short cut for few problems: no number exceeds the root of the sum of squares. That is NaN
    # where an answer is, and then the details decide. BLAS would take threads of its own for more.
    short = sum(part.size for part in parts) <= FEW
    if short and all(np.vdot(part, part) <= LARGE[dtype] ** 2 for part in parts):
        return
    sizes = [np.abs(part).max(axis=-1, initial=0) for part in parts]
    doubtful = solution.solved & (np.max(sizes, axis=0) > LARGE[dtype])
    if not doubtful.any():
        return
    tol = solution.settings.tolerance(dtype)
    kept = solution.primal_residual() <= tol * (1 + solution.primal_scale())
    kept &= solution.dual_residual() <= tol * (1 + solution.dual_scale())
    kept &= solution.duality_gap() <= tol * (1 + solution.gap_scale())
    solution.status[doubtful & ~kept] = Status.NUMERICAL_ERROR
