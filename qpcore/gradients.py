"""Between the data and the KKT conditions: changes of the data one way, gradients back (14)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qpcore import cpu, reuse
from qpcore.kernels.transfer import Vectors
from qpcore.problem import CORE_AXES, Problem

Axes = tuple[int, ...]


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
    gradients = room_for(problem, wanted)
    add_gradients(gradients, problem, answer, adjoint, upper, threads)
    return gradients


def room_for(problem: Problem, wanted: frozenset[str]) -> dict[str, np.ndarray]:
    """Where gradients go: zeros for sums over problems, else whatever the memory holds."""
    gradients = {}
    for name in wanted:
        shape = problem.given_shapes[name]
        adds_up = math.prod(lead_of(problem, name)) != problem.batch_size or not shape
        empty = reuse.empty if len(CORE_AXES[name]) == 2 else np.empty
        gradients[name] = (np.zeros if adds_up else empty)(shape, problem.dtype)
    return gradients


def add_gradients(
    gradients: dict[str, np.ndarray],
    problem: Problem,
    answer: Vectors,
    adjoint: Vectors,
    upper: Shares,
    threads: int,
) -> None:
    """Write what each problem has for itself (14), and add what it shares."""
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
    own = []
    for name, out in gradients.items():
        if name not in matrices:
            put_vector(out, problem, name, vectors[name]())
        elif len(found := own_matrices(out, problem, name, matrices[name])):
            own.append(found)
        else:
            add_matrix(out, problem, name, matrices[name])
    cpu.outer(own, threads)


def own_matrices(out: np.ndarray, problem: Problem, name: str, factors: tuple) -> tuple:
    """A matrix for each problem, and what it is made of; nothing if problems share one.

    Vectors are halved for Q, to which both products give the same.
    """
    _, shared = split_axes(problem.batch_shape, lead_of(problem, name))
    if shared:
        return ()
    a, b, c, d = factors
    if name == "Q":
        half = problem.dtype.type(0.5)
        a, c = half * a, half * c
    return out.reshape(len(a), *out.shape[-2:]), cpu.Factors(a, b, c, d)


def add_matrix(out: np.ndarray, problem: Problem, name: str, factors: tuple) -> None:
    """The sum of a bᵀ + c dᵀ over the problems that share an entry, one product of matrices."""
    half = problem.dtype.type(0.5 if name == "Q" else 1)
    kept, shared = split_axes(problem.batch_shape, lead_of(problem, name))
    a, b, c, d = (group(problem, v, kept, shared) for v in factors)
    total = np.swapaxes(a, -1, -2) @ b
    total += np.swapaxes(c, -1, -2) @ d
    total *= half
    out += total.reshape(out.shape)


def put_vector(out: np.ndarray, problem: Problem, name: str, vector: np.ndarray) -> None:
    """The sum over the problems that share an entry, and over the entries that share a number."""
    kept, shared = split_axes(problem.batch_shape, lead_of(problem, name))
    total = group(problem, vector, kept, shared).sum(axis=1) if shared else vector
    if out.ndim == 0:
        out += total.sum()
    elif shared:
        out += total.reshape(out.shape)
    else:
        out[...] = total.reshape(out.shape)


def lead_of(problem: Problem, name: str) -> tuple[int, ...]:
    """The batch axes with which an argument was given."""
    shape = problem.given_shapes[name]
    return shape[: max(0, len(shape) - len(CORE_AXES[name]))]


@lru_cache(maxsize=64)
def split_axes(batch: tuple[int, ...], lead: tuple[int, ...]) -> tuple[Axes, Axes]:
    """Batch axes along which an argument varies, and those along which it is shared."""
    lead = (1,) * (len(batch) - len(lead)) + lead
    shared = tuple([axis for axis, size in enumerate(lead) if size == 1 and batch[axis] != 1])
    return tuple([axis for axis in range(len(batch)) if axis not in shared]), shared


def group(problem: Problem, v: np.ndarray, kept: Axes, shared: Axes) -> np.ndarray:
    """Bring (batch, ·) to (kept, shared, ·)."""
    batch = problem.batch_shape
    v = v.reshape(*batch, v.shape[-1]).transpose(*kept, *shared, len(batch))
    sizes = (math.prod(batch[axis] for axis in axes) for axes in (kept, shared))
    return v.reshape(*sizes, v.shape[-1])
