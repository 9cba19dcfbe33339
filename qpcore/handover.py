"""A problem as the drivers take it: plain arrays, and numbers for sizes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from qpcore.arguments import CORE_AXES
from qpcore.forms import Form
from qpcore.kernels.workspace import Data, Sizes
from qpcore.problem import Problem

# The entry of every argument that one problem uses.
ONE_PROBLEM = np.zeros((len(CORE_AXES), 1), np.int64)
ONE_PROBLEM.setflags(write=False)

# Those of a batch of at most so many problems are kept: they take 15 microseconds, and 72 KB.
MOST_KEPT = 1024


Places = list[tuple[int, str, tuple[int, ...] | None]]


def data_of(problem: Problem, some: np.ndarray | None = None) -> Data:
    """The problem as the drivers take it, read-only; of a batch, all or some of its problems.

    `some`: int64, (count,), their places in the batch in C order, in the order in which they come.
    """
    form, given = problem.form, problem.__dict__
    absent, present = places_of(form)
    arrays = absent.copy()
    for place, name, shape in present:
        array = given[name]
        arrays[place] = array if shape is None else array.reshape(shape)
    if some is None:
        arrays.append(ONE_PROBLEM if form.batch_size == 1 else entry_of(form))
    else:
        arrays.append(some_entries(form, some))
    return Data._make(arrays)


@lru_cache(maxsize=256)
def places_of(form: Form) -> tuple[list[Any], Places]:
    """What stands for arguments that are not there; of the others place, name, and a new shape."""
    present: Places = []
    for place, name in enumerate(CORE_AXES):
        if name in form:
            shape = form.flat(name)
            present.append((place, name, None if shape == form.shapes[name] else shape))
    return [form.absent.get(name) for name in CORE_AXES], present


def entry_of(form: Form) -> np.ndarray:
    """Row of each array that each problem uses: int64, (arrays, batch_size)."""
    if form.batch_size == 1:
        return ONE_PROBLEM
    return kept_entry(form) if form.batch_size <= MOST_KEPT else new_entry(form)


@lru_cache(maxsize=16)
def kept_entry(form: Form) -> np.ndarray:
    """The same; kept."""
    return new_entry(form)


def new_entry(form: Form) -> np.ndarray:
    """The same, made anew."""
    entry = some_entries(form, np.arange(form.batch_size))
    entry.setflags(write=False)
    return entry


def some_entries(form: Form, some: np.ndarray) -> np.ndarray:
    """Row of each array that each problem at some places uses: int64, (arrays, len(some))."""
    entry = np.zeros((len(CORE_AXES), len(some)), np.int64)
    for place, (name, rows) in enumerate(rows_of(form)):
        if rows == form.batch_size:
            entry[place] = some
        elif rows != 1:
            entry[place] = form.index(name)[some]
    return entry


@lru_cache(maxsize=256)
def rows_of(form: Form) -> tuple[tuple[str, int], ...]:
    """How many rows each array has, by the name of the argument: 1 where problems share it."""
    return tuple((name, form.flat(name)[0] if name in form else 1) for name in CORE_AXES)


def sizes_of(problem: Problem) -> Sizes:
    """Sizes, and the ranges of rows of [G; I] that have an upper and a lower side."""
    return sizes_in(problem.form)


@lru_cache(maxsize=256)
def sizes_in(form: Form) -> Sizes:
    """The same; kept."""
    n, m, p = form.n, form.m, form.p
    has_box = "lb" in form or "ub" in form
    first = (0 if "h" in form else m, 0 if "h_lower" in form else m)
    last = (m + n * ("ub" in form), m + n * ("lb" in form))
    return Sizes(n, m, p, m + n * has_box, first, last)
