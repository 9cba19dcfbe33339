"""How much arithmetic a solve is, by one formula, so that seconds can be compared with a machine.

Counted are floating-point operations, an addition and a multiplication being two, of the cheapest
dense form of one iteration of a primal-dual interior point with predictor and corrector:

- Gram matrix of the inequality rows, one triangle: n²m;
- Cholesky of the condensed Hessian: n³/3, and with p equations its Schur complement:
  n²p for the triangular solve, np² for one triangle of the product, p³/3 for its Cholesky;
- two right-hand sides: 2n² + 4np + 2p² each;
- residuals, and the rows' change along both directions: 2n² + 8nm + 4np.

Bounds cost nothing beside these. Where Q is diagonal and there are no inequality rows, the
condensed Hessian is diagonal: n takes the place of n², and nothing that of n³. Not counted:
equilibration, refinement, step lengths, packing, certificates. What a solver does beyond the count
lowers its rate.
"""

from __future__ import annotations

import numpy as np

from benchmarks.workloads import Data


def per_iteration(data: Data) -> float:
    """Operations of one iteration on one problem."""
    n = data.q.shape[1]
    m, p = (0 if limit is None else limit.shape[-1] for limit in (data.h, data.b))
    eye = np.eye(n, dtype=bool)
    if m == 0 and not data.Q[..., ~eye].any():
        square, factor = n, n * p + n * p**2 + p**3 / 3
    else:
        square, factor = n**2, n**2 * m + n**3 / 3 + n**2 * p + n * p**2 + p**3 / 3
    right = 2 * square + 4 * n * p + 2 * p**2
    products = 2 * square + 8 * n * m + 4 * n * p
    return factor + 2 * right + products


def of_solve(data: Data, iterations: np.ndarray) -> float:
    """Operations of the whole batch, with the iterations that each problem took."""
    return per_iteration(data) * float(iterations.sum())
