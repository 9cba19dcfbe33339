"""Between the data and the KKT conditions: changes of the data one way, gradients back (14)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qpcore import cpu
from qpcore.kernels.transfer import Vectors
from qpcore.problem import Problem


class Shares(NamedTuple):
    """To what share each row moves with its upper limit, and not with its lower one.

    One or zero by the sign of the multiplier; in a relaxed problem both limits push (16).
    """

    z: np.ndarray
    z_box: np.ndarray


def disturb(at: Vectors, upper: Shares, moved: dict[str, np.ndarray]) -> Vectors:
    """Say how tangents of the data disturb the optimality conditions at the answer (13).

    Rows that `solve_at_answer` takes: Q̇x + q̇ + Ġᵀz + Ȧᵀy beside x, Ġx - ė beside z, Ȧx - ḃ beside
    y and -ė beside z_box, where e moves with the upper limit by its share and with the lower one by
    the rest. `at`, `upper` and the result are in the batch's shape. A shared tangent is one product
    of matrices for the batch.
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
    rz -= upper.z * moved.get("h", 0) + (1 - upper.z) * moved.get("h_lower", 0)
    rz_box -= upper.z_box * moved.get("ub", 0) + (1 - upper.z_box) * moved.get("lb", 0)
    return Vectors(rx, rz, ry, rz_box)


def times(M: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Matrix times vector in each problem; a matrix that all of them share is not repeated."""
    if math.prod(M.shape[:-2]) == 1:
        return v @ M.reshape(M.shape[-2:]).T
    return (M @ v[..., None])[..., 0]


def assemble(
    problem: Problem,
    answer: Vectors,
    adjoint: Vectors,
    upper: Shares,
    wanted: frozenset[str],
    threads: int,
) -> dict[str, np.ndarray]:
    """Gradients in the shapes in which the arguments were given; shared ones are sums.

    `answer`, `adjoint` and `upper` are of shape (batch, ·). Only those `wanted` are computed.
    """
    x, z, y, _ = answer
    dx, dz, dy, dz_box = adjoint
    matrices = {"Q": (dx, x, x, dx), "G": (z, dx, dz, x), "A": (y, dx, dy, x)}
    vectors = {
        "q": lambda: dx,
        "b": lambda: -dy,
        "h": lambda: -dz * upper.z,
        "h_lower": lambda: -dz * (1 - upper.z),
        "ub": lambda: -dz_box * upper.z_box,
        "lb": lambda: -dz_box * (1 - upper.z_box),
    }
    gradients = {}
    for name in wanted & matrices.keys():
        gradients[name] = matrix_gradient(problem, name, matrices[name], threads)
    for name in wanted & vectors.keys():
        gradients[name] = vector_gradient(problem, name, vectors[name]())
    return gradients


def matrix_gradient(problem: Problem, name: str, factors: tuple, threads: int) -> np.ndarray:
    """The sum of a bᵀ + c dᵀ over the problems that share an entry, one product of matrices.

    Half of it for Q: vectors are halved where there is a matrix for each of them, else the matrix.
    """
    shape, half = problem.given_shapes[name], problem.dtype.type(0.5 if name == "Q" else 1)
    kept, shared = split_axes(problem, shape[:-2])
    if not shared:
        a, b, c, d = factors
        a, c = (half * a, half * c) if name == "Q" else (a, c)
        return cpu.outer(a, b, c, d, threads).reshape(shape)
    a, b, c, d = (group(problem, v, kept, shared) for v in factors)
    total = np.swapaxes(a, -1, -2) @ b
    total += np.swapaxes(c, -1, -2) @ d
    return (half * total).reshape(shape)


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
