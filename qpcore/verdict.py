"""Which derivatives can be trusted, by the certificates that the kernels write."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from qpcore.arrays import made
from qpcore.kernels.workspace import Certificate
from qpcore.linear import F32, F64
from qpcore.sensitivity import Trust
from qpcore.settings import Settings
from qpcore.solution import Solution

# What estimates of errors are multiplied by: they see one right-hand side, not the worst one.
SAFETY = 10.0

# Derivatives with a larger relative error are not trusted.
MOST_ERROR = {F64: 1e-3, F32: 1e-1}


def trust_of(solution: Solution, certificate: Certificate, failed: np.ndarray | None) -> Trust:
    """The certificates of the batch, and the verdict."""
    dtype = solution.problem.dtype
    if failed is not None:
        certificate = Certificate(*(np.where(failed, np.nan, part) for part in certificate))
    margin, residual, condition, error = certificate
    error *= SAFETY
    trusted = (margin > least_margin(dtype, solution.settings.tol)) & (error <= MOST_ERROR[dtype])
    numbers = {"margin": margin, "residual": residual, "condition": condition, "error": error}
    return made(Trust, numbers | {"trusted": trusted})


@lru_cache(maxsize=64)
def least_margin(dtype: np.dtype, tol: float | None) -> float:
    """The margin that an answer within the tolerance leaves in doubt."""
    return math.sqrt(Settings(tol=tol).tolerance(dtype))


def in_batch_shape(trust: Trust, shape: tuple[int, ...]) -> Trust:
    """(batch,) arrays in the batch's own shape."""
    if trust.margin.shape == shape:
        return trust
    return made(Trust, {name: part.reshape(shape) for name, part in vars(trust).items()})
