"""The constraints of every problem as one-sided rows, for the closest feasible problem (17)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qpcore.arguments import DROPPED, NO_LIMIT
from qpcore.problem import Problem


class Sides(NamedTuple):
    """One-sided rows: upper sides of G and of the bounds, lower ones, and A; k problems."""

    M: np.ndarray
    """(k, S, n)."""
    limit: np.ndarray
    """(k, S), zero where absent."""
    sign: np.ndarray
    """(k, S): 1 on upper sides, -1 on lower ones, 0 in equations."""
    present: np.ndarray
    """(k, S) bool."""
    row: np.ndarray
    """(S,) place among the rows of G, the bounds, and A."""
    widths: tuple[int, int, int]
    """Number of rows of G, of bounds, and of A."""


def sides_of(problem: Problem) -> Sides:
    """The one-sided rows of every problem; a fixed row is an equation."""
    k, n = problem.batch_size, problem.n
    box = n if problem.lb is not None or problem.ub is not None else 0
    widths = (problem.m, box, problem.p)
    eye = np.broadcast_to(np.eye(n)[:box], (k, box, n))
    C = np.concatenate([spread(problem, "G"), eye], axis=1)
    pairs = (("h", "ub"), ("h_lower", "lb"))
    upper, lower = (
        np.concatenate([spread(problem, a), spread(problem, b)[:, :box]], axis=1) for a, b in pairs
    )
    fixed = (upper == lower) & (np.abs(upper) < DROPPED)
    present = [np.abs(upper) < DROPPED, (np.abs(lower) < DROPPED) & ~fixed]
    ones = np.ones((k, problem.p))
    limit = np.concatenate([upper, lower, spread(problem, "b")], axis=1)
    there = np.concatenate([*present, ones > 0], axis=1)
    rows = np.arange(sum(widths))
    C_rows, A_rows = np.split(rows, [problem.m + box])
    return Sides(
        np.concatenate([C, C, spread(problem, "A")], axis=1),
        np.where(there, limit, 0.0),
        np.concatenate([np.where(fixed, 0, 1), np.full(C.shape[:2], -1), 0 * ones], axis=1),
        there,
        np.concatenate([C_rows, C_rows, A_rows]),
        widths,
    )


def crossing(problem: Problem) -> np.ndarray:
    """(k,) norm of the shift that crossed limits alone need, half the gap for either."""
    limits = {name: spread(problem, name) for name in NO_LIMIT}
    limits = {k: np.where(np.abs(v) < DROPPED, v, NO_LIMIT[k]) for k, v in limits.items()}
    gaps = [limits["h_lower"] - limits["h"], limits["lb"] - limits["ub"]]
    gaps = np.concatenate(gaps, axis=1)
    return np.maximum(gaps, 0).max(axis=1, initial=0) / np.sqrt(2)


def spread(problem: Problem, name: str) -> np.ndarray:
    """(k, ...) data of one argument, problem by problem."""
    return problem.compact(name)[problem.index(name)]


def onto_rows(sides: Sides, values: np.ndarray) -> np.ndarray:
    """Sum of the sides of each row, (k, rows)."""
    rows = np.zeros((len(values), sum(sides.widths)))
    np.add.at(rows.T, sides.row, values.T)
    return rows


def split(rows: np.ndarray, widths: tuple[int, int, int]) -> list[np.ndarray]:
    """What belongs to G, to the bounds, and to A."""
    return np.split(rows, np.cumsum(widths)[:2], axis=-1)


def times(M: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Matrix times vector in each problem."""
    return (M @ v[..., None])[..., 0]
