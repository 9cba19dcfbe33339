"""SOLVED is a promise that whoever measures in float64 or better finds kept; else it is taken back.

A residual is a sum. Computing it costs some units in the last place of its *mass*, the sum of the
magnitudes of the terms. Where the mass is huge beside the size that the residual is judged by,
because much cancels inside x'Qx, G'z and the like, neither the kernels' measures nor those of
`Solution` can tell whether the tolerance holds.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from qpcore.arguments import CORE_AXES
from qpcore.cpu import measure
from qpcore.handover import data_of
from qpcore.kernels.doubt import CLEAR
from qpcore.kernels.exact import Exact
from qpcore.kernels.transfer import Vectors
from qpcore.problem import Problem
from qpcore.solution import Solution
from qpcore.status import Status

EPSILON = float(np.finfo(np.float64).eps)

# So many problems are looked at together: what that takes in memory does not grow with the batch.
TOGETHER = 1024

# SOLVED allows a gap of so many times the tolerance beside the objective.
FAR = 100.0


class Three(NamedTuple):
    """A number per problem for each of the residuals."""

    primal: np.ndarray
    dual: np.ndarray
    gap: np.ndarray


def take_back(solution: Solution, doubtful: np.ndarray | None = None) -> None:
    """Make NUMERICAL_ERROR of SOLVED where rounding leaves in doubt whether the promise is kept.

    `doubtful` (*) says where to look, as kernels have found it (`kernels/doubt.py`) or, without it,
    `is_doubtful`.
    """
    if doubtful is not None and not np.count_nonzero(doubtful):
        return
    problem, status = solution.problem, solution.status.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):  # data of others may be anything
        places = np.flatnonzero(find_doubtful(solution) if doubtful is None else doubtful)
    if len(places):
        answer = Vectors(*(v.reshape(problem.batch_size, v.shape[-1]) for v in answer_of(solution)))
        threads = solution.settings.thread_count()
        kept = is_kept(measure(data_of(problem), answer, places, threads), tolerance_of(solution))
        status[places[~kept]] = Status.NUMERICAL_ERROR


def tolerance_of(solution: Solution) -> float:
    """What the residuals of a SOLVED problem do not exceed, beside one plus their sizes."""
    return solution.settings.tolerance(solution.problem.dtype)


def find_doubtful(solution: Solution) -> np.ndarray:
    """(B,) bool, which solved problems to look at, found in parts of constant memory."""
    count = solution.problem.batch_size
    if count <= TOGETHER:
        return (solution.solved & is_doubtful(solution)).reshape(-1)
    slices = (slice(start, start + TOGETHER) for start in range(0, count, TOGETHER))
    parts = (part_of(solution, places) for places in slices)
    return np.concatenate([part.solved & is_doubtful(part) for part in parts])


def part_of(solution: Solution, places: Any) -> Solution:
    """Some problems of a batch, counted in C order; a slice copies nothing."""
    whole, arrays = solution.problem, {}
    for name in CORE_AXES:
        arrays[name] = None
        if getattr(whole, name) is not None:
            array = whole.compact(name)
            if len(array) == 1:
                array = array[0]
            elif len(array) == whole.batch_size:
                array = array[places]
            else:
                array = array[whole.index(name)[places]]
            arrays[name] = array
    x, z, y, z_box = (v.reshape(whole.batch_size, v.shape[-1])[places] for v in answer_of(solution))
    status, iterations = (v.reshape(-1)[places] for v in (solution.status, solution.iterations))
    problem = Problem(**arrays, batch_shape=status.shape, given_shapes={})
    return Solution(x, z, y, z_box, status, iterations, problem, solution.settings)


def answer_of(solution: Solution) -> tuple[np.ndarray, ...]:
    """x, z, y, z_box."""
    return solution.x, solution.z, solution.y, solution.z_box


# ---- from above, without a product with a matrix -------------------------------------------------


def is_doubtful(solution: Solution) -> np.ndarray:
    """(*) bool, whether the mass, from above, is more than the kernels can answer for.

    As `kernels/doubt.py` has it, for answers from elsewhere.

    No entry of Q exceeds the product of the roots of those of its diagonal. The rest is norms, for
    which maxima and one-norms would have to be computed more slowly.
    """
    problem, (x, z, y, z_box) = solution.problem, answer_of(solution)
    root = np.sqrt(np.maximum(np.diagonal(problem.Q, axis1=-2, axis2=-1), 0))
    G, A, q = norm(problem.G, "ij"), norm(problem.A, "ij"), norm(problem.q)
    bend, limits = dot(root, np.abs(x)), limits_of(solution)
    linear = list(zip((problem.q, *limits), (x, y, z, z_box), strict=True))
    mass = Three(
        np.maximum(G, A) * norm(x),
        norm(root) * bend + q + norm(z_box) + G * norm(z) + A * norm(y),
        bend * bend + sum(dot(np.abs(u), np.abs(v)) for u, v in linear),
    )
    size = Three(
        reduce(np.maximum, map(mean, limits)),
        mean(problem.q),
        reduce(np.maximum, (np.abs(dot(u, v)) for u, v in linear)),
    )
    doubts = (~(m <= CLEAR[problem.dtype.char] * (1 + s)) for m, s in zip(mass, size, strict=True))
    return reduce(np.logical_or, doubts)


def limits_of(solution: Solution) -> list[np.ndarray]:
    """b, and the limits that the signs of z and z_box choose, zero beside zeros."""
    problem, limits = solution.problem, []
    sides = (problem.h, problem.h_lower, solution.z), (problem.ub, problem.lb, solution.z_box)
    for upper, lower, v in sides:
        limit = np.where(v > 0, 0 if upper is None else upper, 0 if lower is None else lower)
        limits.append(np.where(v == 0, 0, limit).astype(v.dtype, copy=False))
    return [solution.y[..., :0] if problem.b is None else problem.b, *limits]


def norm(array: np.ndarray | None, axes: str = "i") -> np.ndarray:
    """(*) two-norm over the last axes, of which there are so many; 0 for none."""
    if array is None:
        return np.zeros(())
    return np.sqrt(np.einsum(f"...{axes},...{axes}->...", array, array))


def mean(v: np.ndarray) -> np.ndarray:
    """(*) root of the mean square, which the largest entry is not below."""
    return norm(v) / max(1, v.shape[-1]) ** 0.5


def dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(*) u'v."""
    return np.einsum("...i,...i->...", u, v)


# ---- exactly -------------------------------------------------------------------------------------


def is_kept(found: Exact, tol: float) -> np.ndarray:
    """Whether every residual, with what rounding may add, is within the tolerance: bool, as many.

    Rounding hardly ever adds more than machine epsilon times the mass: a heuristic. With N terms
    the bound for the worst case is N / 2 times that, for errors as likely up as down sqrt(N) / 2
    times (Higham & Mary 2019, SIAM J. Sci. Comput. 41); blocked sums do better still. Asked for
    1e-9 the latter refuse four and two of 254 real problems, whose residuals measure below 5e-10,
    and this one refuses one.
    """
    kept = found.gap <= FAR * tol * (1 + np.abs(found.objective))
    kept &= found.gap + EPSILON * found.gap_mass <= tol * (1 + found.gap_size)
    kept &= found.dual + EPSILON * found.dual_mass <= tol * (1 + found.dual_size)
    return kept & (found.primal + EPSILON * found.primal_mass <= tol * (1 + found.primal_size))
