"""A problem as the drivers take it: plain arrays, and numbers for sizes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qpcore.arguments import CORE_AXES
from qpcore.kernels.workspace import Data, Sizes
from qpcore.problem import Problem

# The entry of every argument that one problem uses.
ONE_PROBLEM = np.zeros((len(CORE_AXES), 1), np.int64)
ONE_PROBLEM.setflags(write=False)

# Those of a batch of at most so many problems are kept: they take 15 microseconds, and 72 KB.
MOST_KEPT = 1024


def data_of(problem: Problem) -> Data:
    """The problem as the drivers take it, read-only."""
    arrays = problem.all_compact()
    return Data._make([*arrays, entry_of(problem, arrays)])


def entry_of(problem: Problem, arrays: list[np.ndarray]) -> np.ndarray:
    """Row of each array that each problem uses: int64, (arrays, batch_size)."""
    count = problem.batch_size
    if count == 1:
        return ONE_PROBLEM
    if len(problem.batch_shape) == 1 and count <= MOST_KEPT:
        return plain_entry(count, *map(len, arrays))
    entry = np.zeros((len(arrays), count), np.int64)
    for place, array in enumerate(arrays):
        if len(array) != 1:
            entry[place] = problem.index(Data._fields[place])
    entry.setflags(write=False)
    return entry


@lru_cache(maxsize=16)
def plain_entry(count: int, *lengths: int) -> np.ndarray:
    """The same along one batch axis, for arrays of so many entries: one, or one a problem."""
    entry = np.zeros((len(lengths), count), np.int64)
    entry[[length != 1 for length in lengths]] = np.arange(count)
    entry.setflags(write=False)
    return entry


def sizes_of(problem: Problem) -> Sizes:
    """Sizes, and the ranges of rows of [G; I] that have an upper and a lower side."""
    n, m, p = problem.n, problem.m, problem.p
    has_box = problem.lb is not None or problem.ub is not None
    first = (0 if problem.h is not None else m, 0 if problem.h_lower is not None else m)
    last = (m + n * (problem.ub is not None), m + n * (problem.lb is not None))
    return Sizes(n, m, p, m + n * has_box, first, last)
