"""The closest feasible QP: limits moved by the shift of least norm that lets a point satisfy them.

Sides of rows that have to give way, and all equations, make N and f; the closest QP is the one
whose x minimises |Nx - f|, which Vᵀx = Σ⁻¹Uᵀf says with N = UΣVᵀ (17). Computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from qpcore.arguments import NO_LIMIT
from qpcore.problem import Problem
from qpcore.promise import part_of
from qpcore.settings import Settings
from qpcore.sides import Sides, crossing, onto_rows, sides_of, split, spread, times
from qpcore.solution import Solution
from qpcore.solving import solve_problem
from qpcore.status import Status

# Of the problem that finds the shift; sides are told apart at its root.
TOLERANCE = 1e-11

# Singular values of N below this share of the largest are zero: the rows clash, and do not meet far
# away.
RANK = 1e-9

# Norm of the shift, beside what the certificate says it is at least, below which it is a doubtful
# one, as in float32 it can be.
LEAST = 1e-3

# Numbers in the rows of the problems that are worked on at a time: 128 MB.
AT_A_TIME = 2**24


class Clash(NamedTuple):
    """Problems whose N has one rank r, made feasible."""

    places: np.ndarray
    """(k,) index in the batch."""
    sides: Sides
    gives: np.ndarray
    """(k, S) bool, the sides in N."""
    margin: np.ndarray
    """(k,) how clearly the sides give way or not, from 0 to 1."""
    U: np.ndarray
    """(k, S, r), with zeros in sides that are not in N."""
    sigma: np.ndarray
    """(k, r)."""
    Vt: np.ndarray
    """(k, r, n)."""
    answer: Solution
    """x, multipliers of sides that do not give way, and y beside Vᵀx = Σ⁻¹Uᵀf."""


def replace_infeasible(solution: Solution) -> None:
    """Put the answers of the closest feasible problems where problems are infeasible."""
    places = np.flatnonzero(solution.status == Status.PRIMAL_INFEASIBLE)
    for clash in clashes(solution, places, distance):
        z_rows = multipliers(clash, clash.answer)
        good = clash.answer.solved
        found = (clash.answer.x, *split(z_rows, clash.sides.widths))
        for whole, values in zip(vectors(solution), found, strict=True):
            if values.shape[-1]:
                flat = whole.reshape(solution.problem.batch_size, whole.shape[-1])
                flat[clash.places[good]] = values[good]


def vectors(solution: Solution) -> tuple[np.ndarray, ...]:
    """x, z, z_box, y: the order of the rows (2)."""
    return solution.x, solution.z, solution.z_box, solution.y


def multipliers(clash: Clash, at: Any) -> np.ndarray:
    """(k, rows): those of the answer, and of least norm in rows that give way (17)."""
    return kept_rows(clash, at) + onto_rows(clash.sides, times(clash.U, at.y / clash.sigma))


def kept_rows(clash: Clash, v: Any) -> np.ndarray:
    """(k, rows) what stands beside the rows that keep their limits; zero beside the others."""
    _, box, p = clash.sides.widths
    return np.concatenate([v.z, v.z_box[:, :box], np.zeros((len(v.x), p))], axis=1)


def distance(solution: Solution) -> np.ndarray:
    """(k,) a lower bound of the shift's norm: that of the certificate, or of crossed limits."""
    sides = sides_of(solution.problem)
    rays = np.concatenate(ray_of(solution, sides), axis=1)[:, sides.row]
    rays = np.where(sides.present & (rays * sides.sign >= 0), rays, 0)
    norm = np.sqrt((rays**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(norm > 0, -(rays * sides.limit).sum(axis=1) / norm, 0)
    return np.maximum(far, crossing(solution.problem))


def ray_of(solution: Solution, sides: Sides) -> list[np.ndarray]:
    """z, z_box where there are bounds, y."""
    return [v[:, :w] for v, w in zip(vectors(solution)[1:], sides.widths, strict=True)]


def clashes(
    solution: Solution, places: np.ndarray, size_of: Callable[[Solution], np.ndarray]
) -> Iterator[Clash]:
    """Yield problems of a batch, made feasible; `size_of` tells the norm of the shift."""
    problem = solution.problem
    numbers = problem.n * (2 * problem.m + 2 * problem.n + problem.p)
    step = max(1, AT_A_TIME // numbers)
    for start in range(0, len(places), step):
        some = places[start : start + step]
        part = part_of(solution, some)
        yield from by_rank(part, some, size_of(part))


def by_rank(part: Solution, places: np.ndarray, size: np.ndarray) -> Iterator[Clash]:
    """Yield the problems of `part`, rank by rank."""
    sides = sides_of(part.problem)
    gives, margin, found = sides_that_give(sides, size, part.settings)
    N = np.where(gives[..., None], sides.M, 0)
    U, sigma, Vt = np.linalg.svd(N, full_matrices=False)
    rank = (sigma > RANK * sigma[:, :1]).sum(axis=1)
    for r in np.unique(rank[found]):
        k = np.flatnonzero(found & (rank == r))
        basis = U[k, :, :r], sigma[k, :r], Vt[k, :r]
        some = sides._replace(**{f: getattr(sides, f)[k] for f in Sides._fields[:4]})
        answer = closest_answer(part_of(part, k), some, gives[k], basis)
        yield Clash(places[k], some, gives[k], margin[k], *basis, answer)


def sides_that_give(
    sides: Sides, size: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which sides give way, how clear that is, and in which problems it could be found.

    The shift w of least norm is the answer of ½wᵀw + limitᵀw, Mᵀw = 0, w ≥ 0 on upper sides and
    ≤ 0 on lower ones; the multipliers of the signs are the slacks of the sides (17).
    """
    S, n = sides.M.shape[1:]
    size = np.where(size > 0, size, 1.0)
    lower = np.where(sides.present & (sides.sign <= 0), -np.inf, 0.0)
    upper = np.where(sides.present & (sides.sign >= 0), np.inf, 0.0)
    problem = Problem.parse(
        np.eye(S), sides.limit / size[:, None], None, None,
        sides.M.swapaxes(-1, -2), np.zeros(n), lower, upper,
    )  # fmt: skip
    options = Settings(TOLERANCE, settings.max_iterations, settings.threads)
    found = solve_problem(problem, options)
    shift, slack = np.abs(found.x), np.abs(found.z_box)
    choice = sides.present & (sides.sign != 0)
    gives = np.where(choice, shift > slack, sides.present)
    largest = np.maximum(shift.max(axis=1, initial=0), np.finfo(float).tiny)
    clear = np.where(choice, np.maximum(shift, slack) / largest[:, None], 1)
    margin = np.minimum(clear.min(axis=1, initial=1), 1)
    clash = np.sqrt((shift**2).sum(axis=1)) > LEAST
    return gives, margin, found.solved & clash


def closest_answer(
    part: Solution, sides: Sides, gives: np.ndarray, basis: tuple[np.ndarray, ...]
) -> Solution:
    """Solve with Vᵀx = Σ⁻¹Uᵀf in the place of A, and without the sides that give way."""
    problem, (U, sigma, Vt) = part.problem, basis
    loose = onto_rows(sides, gives.astype(float)) > 0
    limits = {}
    G_rows, box, _ = split(loose, sides.widths)
    for name, rows in (("h", G_rows), ("h_lower", G_rows), ("ub", box), ("lb", box)):
        if rows.shape[1]:
            limits[name] = np.where(rows, NO_LIMIT[name], spread(problem, name))
    right = times(U.swapaxes(-1, -2), np.where(gives, sides.limit, 0)) / sigma
    closest = Problem.parse(
        problem.Q, problem.q, problem.G, limits.get("h"), Vt, right,
        limits.get("lb"), limits.get("ub"), limits.get("h_lower"),
    )  # fmt: skip
    options = replace(part.settings, infeasible="certificate", trace=False)
    return solve_problem(closest, options)
