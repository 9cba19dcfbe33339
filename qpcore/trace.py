"""What the solver saw on its way: one number for every iterate of every problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Trace:
    """Record of a solve with ``Settings(trace=True)``, in the dtype of the problem.

    All arrays are (*, K + 1), with * the batch shape and K the largest of all `iterations`. Entry k
    belongs to the iterate after k iterations: 0 is the starting point, a problem's last entry is
    entry `iterations`. sigma and alpha say how the solver went from iterate k to k + 1, so a
    problem's last entries are NaN.

    NaN is what a problem has not: entries beyond its last iterate; all entries where the data alone
    decided (NONFINITE_INPUT, NOT_CONVEX, crossed limits); mu and sigma without inequalities; sigma
    and alpha of a step of an active set method. A problem of status NUMERICAL_ERROR whose last step
    came out as no number has not taken it, and ends one entry earlier.
    """

    primal_residual: np.ndarray
    """`Solution.primal_residual` of the iterate, as the solver measured it in its own precision."""
    dual_residual: np.ndarray
    """`Solution.dual_residual`, likewise."""
    duality_gap: np.ndarray
    """`Solution.duality_gap`, likewise."""
    mu: np.ndarray
    """Mean of s z over all limits present, slack times multiplier. Where every row has one limit
    and the linear conditions hold, the gap is mu times the number of limits."""
    sigma: np.ndarray
    """Centring: the step aims at s z = sigma mu. Near 0 where the predictor found the way free, and
    at least 0.5 after an iteration that hardly reduced mu."""
    alpha: np.ndarray
    """Length of the step, of primal and dual variables alike; at most 1. Short steps in a row mean
    that the iterates stick to the boundary."""
