"""A problem as the drivers take it: plain arrays, and numbers for sizes."""

from __future__ import annotations

import numpy as np

from qpcore.kernels.workspace import Data, Sizes
from qpcore.problem import CORE_AXES, Problem

# The entry of every argument that one problem uses.
ONE_PROBLEM = np.zeros((len(CORE_AXES), 1), np.int64)
ONE_PROBLEM.setflags(write=False)


def data_of(problem: Problem) -> Data:
    """The problem as the drivers take it, read-only."""
    arrays = problem.all_compact()
    return Data._make([*arrays, entry_of(problem, arrays)])


def entry_of(problem: Problem, arrays: list[np.ndarray]) -> np.ndarray:
    """Row of each array that each problem uses: int64, (arrays, batch_size)."""
    if problem.batch_size == 1:
        return ONE_PROBLEM
    entry = np.zeros((len(arrays), problem.batch_size), np.int64)
    for place, array in enumerate(arrays):
        if len(array) != 1:
            entry[place] = problem.index(Data._fields[place])
    entry.setflags(write=False)
    return entry


def sizes_of(problem: Problem) -> Sizes:
    """Sizes, and the ranges of rows of [G; I] that have an upper and a lower side."""
    n, m, p = problem.n, problem.m, problem.p
    has_box = problem.lb is not None or problem.ub is not None
    first = (0 if problem.h is not None else m, 0 if problem.h_lower is not None else m)
    last = (m + n * (problem.ub is not None), m + n * (problem.lb is not None))
    return Sizes(n, m, p, m + n * has_box, first, last)
