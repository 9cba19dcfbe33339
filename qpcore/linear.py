"""The linear system at the answer (13) as it was solved, and what its parts are."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qpcore.gradients import Shares
from qpcore.kernels.adjoint import Rules
from qpcore.kernels.transfer import Vectors
from qpcore.sensitivity import Trust
from qpcore.solution import Solution

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)

# rho, delta of the factor (9): refinement undoes them. A delta of 1e-8, as in a solve, puts entries
# of 1e8 into the matrix; beside a Q of condition 1e8 their rounding errors once left no pivot.
REGULARISATION = {F64: (1e-9, 1e-7), F32: (1e-3, 1e-4)}

# Residuals at which refinement rests, and what they owe to rounding, beside the largest term.
ROUNDING = {F64: (1e-12, 2e-15), F32: (1e-5, 1e-6)}

# Shares, and doubts, that nobody has asked for.
UNASKED = Shares(np.empty((0, 0)), np.empty((0, 0)))
UNDOUBTED = np.empty(0, bool)


class Linear(NamedTuple):
    """The solution of the KKT system of every problem, and the point where it was taken.

    Arrays are of shape (batch, ·), those of z_box (batch, 0) where the problem has no bounds.
    """

    at: Vectors
    """x, z, y, z_box: the answer, made exact by a Newton step where that is possible; zero in
    failed problems."""
    upper: Shares
    """Shares of the upper limits; not found yet where gradients are written, see `sides`."""
    found: Vectors
    """-M⁻¹ times the right-hand sides."""
    trust: Trust
    """(batch,) arrays."""
    doubtful: np.ndarray
    """(batch,) bool, where the policy of the settings applies; nowhere, and without entries, where
    gradients are written."""
    written: bool = False
    """Whether the driver has written the gradients that it was given room for."""


@lru_cache(maxsize=64)
def rules_of(dtype: np.dtype, mu: float = 0.0) -> Rules:
    """How answers in this precision are differentiated."""
    numbers = (*REGULARISATION[dtype], mu, *ROUNDING[dtype])
    return Rules._make(dtype.type(number) for number in numbers)


def sides(at: Vectors) -> Shares:
    """One where the multiplier belongs to the upper limit, zero where to the lower one."""
    return Shares((at.z >= 0).astype(at.z.dtype), (at.z_box >= 0).astype(at.z.dtype))


def touches(right: Vectors) -> np.ndarray:
    """(batch,) bool, True where a right-hand side is not zero."""
    return np.any([(part != 0).any(axis=1) for part in right], axis=0)


def without_absent_box(solution: Solution, vectors: Vectors) -> Vectors:
    """No room for z_box where there are no bounds."""
    form = solution.problem.form
    if "lb" in form or "ub" in form:
        return vectors
    x, z, y, z_box = vectors
    return Vectors(x, z, y, z_box[:, :0])
