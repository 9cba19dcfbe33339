"""How the solver left each problem, and what to try next."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Status(IntEnum):
    """Outcome of one problem; the numbers are fixed, arrays of them are int8."""

    SOLVED = 0
    """Primal residual, dual residual and duality gap are all within tolerance."""
    MAX_ITERATIONS = 1
    """The limit of iterations came first; x, z, y and z_box are the best iterate."""
    PRIMAL_INFEASIBLE = 2
    """No x satisfies the constraints; z, y and z_box hold a Farkas ray of norm 1, x is NaN."""
    DUAL_INFEASIBLE = 3
    """The objective has no lower bound; x holds a descent ray of norm 1, z, y and z_box are NaN."""
    NOT_CONVEX = 4
    """The symmetric part of Q has a negative eigenvalue."""
    NUMERICAL_ERROR = 5
    """No attempt met the tolerance or found a proof; x, z, y and z_box are the best iterate."""
    NONFINITE_INPUT = 6
    """Q, q, G, A or b holds NaN or inf, or a limit is NaN."""

    @property
    def remedy(self) -> str:
        """One sentence that says what to try."""
        return _REMEDIES[self]


def all_solved(statuses: np.ndarray) -> bool:
    """Whether all are SOLVED, which is zero; of one problem in a third of the time of a count."""
    return not (statuses if statuses.size == 1 else np.count_nonzero(statuses))


_REMEDIES = {
    Status.SOLVED: "Nothing to do.",
    Status.MAX_ITERATIONS: (
        "Raise Settings.max_iterations, loosen Settings.tol, or bring the data to similar "
        "magnitudes."
    ),
    Status.PRIMAL_INFEASIBLE: (
        "Check signs and lb <= ub, or relax some of the constraints that clash: those whose entry "
        "of z, y, z_box is not zero."
    ),
    Status.DUAL_INFEASIBLE: (
        "Bound the variables along the ray in x, or add a small multiple of the identity to Q."
    ),
    Status.NOT_CONVEX: (
        "Check the sign of Q; if rounding made it indefinite, build it as L @ L.T + eps * I."
    ),
    Status.NUMERICAL_ERROR: (
        "Use float64, loosen Settings.tol, bring the data to similar magnitudes, or drop nearly "
        "dependent rows of A and G."
    ),
    Status.NONFINITE_INPUT: (
        "Look for NaN or inf upstream, a diverged network being the usual cause; only limits may "
        "be infinite."
    ),
}
