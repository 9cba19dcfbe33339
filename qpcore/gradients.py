"""Between the data and the KKT conditions: changes of the data one way, gradients back (14)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qpcore import cpu_gradients, reuse
from qpcore.arguments import CORE_AXES
from qpcore.cpu_gradients import Factors
from qpcore.kernels.transfer import Vectors
from qpcore.problem import Problem

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
    gradients = room_for(rooms_for(problem, wanted), problem.dtype)
    add_gradients(gradients, problem, answer, adjoint, upper, threads)
    return gradients


class Room(NamedTuple):
    """What room the gradient of an argument takes."""

    name: str
    shape: tuple[int, ...]
    """As the argument was given."""
    make: Callable[[tuple[int, ...], np.dtype], np.ndarray]
    own: tuple[int, ...] | None
    """(batch, ...) if each problem has the argument for itself, whose gradient a driver can write;
    else None."""


def rooms_for(problem: Problem, wanted: frozenset[str]) -> tuple[Room, ...]:
    """What room gradients take."""
    return rooms_of(problem.batch_shape, wanted, *problem.given_shapes.items())


@lru_cache(maxsize=256)
def rooms_of(
    batch: tuple[int, ...], wanted: frozenset[str], *given: tuple[str, tuple[int, ...]]
) -> tuple[Room, ...]:
    """The same for arguments of these shapes; kept, as it takes four microseconds."""
    rooms = []
    for name, shape in given:
        if name in wanted:
            lies = sharing_of(shape, len(CORE_AXES[name]), batch)
            large = name in MATRICES and 8 * math.prod(shape) >= reuse.LEAST
            make = np.zeros if lies.adds_up else reuse.empty if large else np.empty
            shared = lies.shared or lies.adds_up
            own = None if shared else (math.prod(batch), *lies.core)
            rooms.append(Room(name, shape, make, own))
    return tuple(rooms)


def room_for(rooms: tuple[Room, ...], dtype: np.dtype) -> dict[str, np.ndarray]:
    """Where gradients go: zeros for sums over problems, else whatever the memory holds."""
    return {name: make(shape, dtype) for name, shape, make, _ in rooms}


def own_gradients(
    gradients: dict[str, np.ndarray], rooms: tuple[Room, ...]
) -> dict[str, np.ndarray]:
    """Those of what each problem has for itself, (batch, ...), where a driver can write them."""
    return {name: gradients[name].reshape(own) for name, _, _, own in rooms if own}


def add_gradients(
    gradients: dict[str, np.ndarray],
    problem: Problem,
    answer: Vectors,
    adjoint: Vectors,
    upper: Shares,
    threads: int,
) -> None:
    """Write what each problem has for itself (14), and add what it shares."""
    own = []
    for name, out in gradients.items():
        lies = sharing(problem, name)
        if name not in MATRICES:
            put_vector(out, problem, lies, VECTORS[name](adjoint, upper))
            continue
        factors = MATRICES[name](answer, adjoint)
        if lies.shared:
            add_matrix(out, problem, lies, factors)
        else:
            own.append((out.reshape(problem.batch_size, *out.shape[-2:]), factors))
    cpu_gradients.outer(own, threads)


def factors_of_Q(v: Vectors, d: Vectors) -> Factors:
    """Those of its symmetric part."""
    return Factors(0.5, d.x, v.x, v.x, d.x)


# The gradient of a matrix in a problem is a multiple of a bᵀ + c dᵀ, made of the answer and the
# adjoint.
MATRICES = {
    "Q": factors_of_Q,
    "G": lambda v, d: Factors(1.0, v.z, d.x, d.z, v.x),
    "A": lambda v, d: Factors(1.0, v.y, d.x, d.y, v.x),
}

# Those of vectors, made of the adjoint and the shares of the upper limits.
VECTORS = {
    "q": lambda d, upper: d.x,
    "b": lambda d, upper: -d.y,
    "h": lambda d, upper: -d.z * upper.z,
    "h_lower": lambda d, upper: -d.z * (1 - upper.z),
    "ub": lambda d, upper: -d.z_box * upper.z_box,
    "lb": lambda d, upper: -d.z_box * (1 - upper.z_box),
}


def add_matrix(out: np.ndarray, problem: Problem, lies: Sharing, factors: Factors) -> None:
    """The sum of a bᵀ + c dᵀ over the problems that share an entry, one product of matrices."""
    a, b, c, d = (group(problem, v, lies) for v in factors[1:])
    total = np.swapaxes(a, -1, -2) @ b
    total += np.swapaxes(c, -1, -2) @ d
    total *= out.dtype.type(factors.scale)
    out += total.reshape(out.shape)


def put_vector(out: np.ndarray, problem: Problem, lies: Sharing, vector: np.ndarray) -> None:
    """The sum over the problems that share an entry, and over the entries that share a number."""
    total = group(problem, vector, lies).sum(axis=1) if lies.shared else vector
    if out.ndim == 0:
        out += total.sum()
    elif lies.shared:
        out += total.reshape(out.shape)
    else:
        out[...] = total.reshape(out.shape)


class Sharing(NamedTuple):
    """How problems share an argument."""

    entries: int
    """How many there are along the batch axes with which it was given."""
    core: tuple[int, ...]
    """Its shape without them; () where one number stands for all."""
    kept: Axes
    """Batch axes along which it varies."""
    shared: Axes
    """Batch axes along which it does not."""
    adds_up: bool
    """Whether an entry, or a number, belongs to several problems, or places in one."""


def sharing(problem: Problem, name: str) -> Sharing:
    """How the problems share an argument that was given."""
    return sharing_of(problem.given_shapes[name], len(CORE_AXES[name]), problem.batch_shape)


@lru_cache(maxsize=256)
def sharing_of(shape: tuple[int, ...], axes: int, batch: tuple[int, ...]) -> Sharing:
    """How problems of a batch share an argument of a shape whose last axes are its own."""
    own = max(0, len(shape) - axes)
    lead = (1,) * (len(batch) - own) + shape[:own]
    shared = tuple([axis for axis, size in enumerate(lead) if size == 1 and batch[axis] != 1])
    kept = tuple([axis for axis in range(len(batch)) if axis not in shared])
    adds_up = math.prod(lead) != math.prod(batch) or not shape
    return Sharing(math.prod(lead), shape[own:], kept, shared, adds_up)


def group(problem: Problem, v: np.ndarray, lies: Sharing) -> np.ndarray:
    """Bring (batch, ·) to (kept, shared, ·)."""
    batch = problem.batch_shape
    v = v.reshape(*batch, v.shape[-1]).transpose(*lies.kept, *lies.shared, len(batch))
    sizes = (math.prod(batch[axis] for axis in axes) for axes in (lies.kept, lies.shared))
    return v.reshape(*sizes, v.shape[-1])
