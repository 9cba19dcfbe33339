"""Between the data and the KKT conditions: changes of the data one way, gradients back (14)."""

from __future__ import annotations

import math

import numpy as np

from qpcore import cpu
from qpcore.kernels.transfer import Vectors
from qpcore.problem import Problem
from qpcore.solution import Gradients


def disturb(at: Vectors, moved: dict[str, np.ndarray]) -> Vectors:
    """Say how tangents of the data disturb the optimality conditions at the answer (13).

    Rows that `solve_at_answer` takes: Q̇x + q̇ + Ġᵀz + Ȧᵀy beside x, Ġx - ė beside z, Ȧx - ḃ beside
    y and -ė beside z_box, where e is the limit that the sign of the multiplier chooses. `at` and
    the result are in the batch's shape. A shared tangent is one product of matrices for the batch.
    """
    rx, rz, ry, rz_box = (np.zeros_like(part) for part in at)
    if "Q" in moved:
        rx += times(moved["Q"], at.x) / 2 + times(np.swapaxes(moved["Q"], -1, -2), at.x) / 2
    if "G" in moved:
        rx += times(np.swapaxes(moved["G"], -1, -2), at.z)
        rz += times(moved["G"], at.x)
    if "A" in moved:
        rx += times(np.swapaxes(moved["A"], -1, -2), at.y)
        ry += times(moved["A"], at.x)
    rx += moved.get("q", 0)
    ry -= moved.get("b", 0)
    rz -= np.where(at.z >= 0, moved.get("h", 0), moved.get("h_lower", 0))
    rz_box -= np.where(at.z_box >= 0, moved.get("ub", 0), moved.get("lb", 0))
    return Vectors(rx, rz, ry, rz_box)


def times(M: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Matrix times vector in each problem; a matrix that all of them share is not repeated."""
    if math.prod(M.shape[:-2]) == 1:
        return v @ M.reshape(M.shape[-2:]).T
    return (M @ v[..., None])[..., 0]


def assemble(problem: Problem, answer: dict, adjoint: dict, threads: int) -> Gradients:
    """Gradients in the shapes in which the arguments were given; shared ones are sums.

    `answer` and `adjoint` hold the arrays x, z, y, z_box of shape (batch, ·).
    """
    x, y, z, z_box = (answer[name] for name in ("x", "y", "z", "z_box"))
    dx, dy, dz, dz_box = (adjoint[name] for name in ("x", "y", "z", "z_box"))
    half = x.dtype.type(0.5)
    matrices = {"Q": (half * dx, x, half * x, dx), "G": (z, dx, dz, x), "A": (y, dx, dy, x)}
    vectors = {  # 0 * NaN stays NaN
        "q": dx,
        "b": -dy,
        "h": np.where(z >= 0, -dz, 0 * dz),
        "h_lower": np.where(z < 0, -dz, 0 * dz),
        "ub": np.where(z_box >= 0, -dz_box, 0 * dz_box),
        "lb": np.where(z_box < 0, -dz_box, 0 * dz_box),
    }
    gradients = {}
    for name, factors in matrices.items():
        if name in problem.given_shapes:
            gradients[name] = matrix_gradient(problem, name, factors, threads)
    for name, vector in vectors.items():
        if name in problem.given_shapes:
            gradients[name] = vector_gradient(problem, name, vector)
    return Gradients(**gradients)


def matrix_gradient(problem: Problem, name: str, factors: tuple, threads: int) -> np.ndarray:
    """The sum of a bᵀ + c dᵀ over the problems that share an entry: one product of matrices."""
    shape = problem.given_shapes[name]
    kept, shared = split_axes(problem, shape[:-2])
    if not shared:
        a, b, c, d = factors
        return cpu.outer(a, b, c, d, threads).reshape(shape)
    a, b, c, d = (group(problem, v, kept, shared) for v in factors)
    return (np.swapaxes(a, -1, -2) @ b + np.swapaxes(c, -1, -2) @ d).reshape(shape)


def vector_gradient(problem: Problem, name: str, vector: np.ndarray) -> np.ndarray:
    """The sum over the problems that share an entry, and over the entries that share a number."""
    shape = problem.given_shapes[name]
    kept, shared = split_axes(problem, shape[:-1])
    total = group(problem, vector, kept, shared).sum(axis=1) if shared else vector
    return np.asarray(total.sum() if shape == () else total.reshape(shape))


def split_axes(problem: Problem, lead: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Batch axes along which an argument varies, and those along which it is shared."""
    batch = problem.batch_shape
    lead = (1,) * (len(batch) - len(lead)) + lead
    shared = [axis for axis, size in enumerate(lead) if size == 1 and batch[axis] != 1]
    return [axis for axis in range(len(batch)) if axis not in shared], shared


def group(problem: Problem, v: np.ndarray, kept: list[int], shared: list[int]) -> np.ndarray:
    """Bring (batch, ·) to (kept, shared, ·)."""
    batch = problem.batch_shape
    v = v.reshape(*batch, v.shape[-1]).transpose(*kept, *shared, len(batch))
    sizes = (math.prod(batch[axis] for axis in axes) for axes in (kept, shared))
    return v.reshape(*sizes, v.shape[-1])
