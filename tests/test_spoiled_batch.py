"""A large batch in which every tenth problem is bad: the others keep their bits and their speed."""

from statistics import median
from time import perf_counter

import hostile
import numpy as np
import pytest
import rays
from cases import beside
from checks import assert_same_bits, fields
from problems import Form

from qpcore import Status, solve

COUNT, EVERY = 4096, 10
FORM = Form(10, 15, 3, rows="mixed", box="mixed")
EXPECTED = {
    "nan": Status.NONFINITE_INPUT,
    "infeasible": Status.PRIMAL_INFEASIBLE,
    "unbounded": Status.DUAL_INFEASIBLE,
    "indefinite": Status.NOT_CONVEX,
    "crossed": Status.PRIMAL_INFEASIBLE,
}

# What the bad ones may cost; by default with room for a busy machine.
COSTS = [(FORM, np.float64, 3.0)] + [
    pytest.param(form, dtype, 1.5, marks=pytest.mark.slow)
    for form in (FORM, Form(30, 30, 5, "mixed", "mixed"), Form(60, 60, 10, "mixed", "mixed"))
    for dtype in (np.float64, np.float32)
]


def good(form, dtype, count, seed=0):
    """Data of solvable problems."""
    data = hostile.solvable(hostile.Recipe(form, seed=seed, count=count))
    return {name: value.astype(dtype) for name, value in data.items()}


def bad(kind, form, dtype, count):
    """Data of bad problems of one kind."""
    if kind in ("infeasible", "unbounded"):
        form = Form(form.n, form.m, form.p, form.rows, form.box, rank=form.n - 2)
        data = getattr(rays, kind)(form, 7, count, np.ones(count)).data
        return {name: value.astype(dtype) for name, value in data.items()}
    data, rng = good(form, dtype, count, seed=8), np.random.default_rng(9)
    for i in range(count):
        hostile.SPOILS[kind](hostile.one(data, i), rng)
    return data


def spoiled(form, dtype, kinds=tuple(EXPECTED)):
    """A batch of COUNT with every tenth bad; the good ones alone; where they are; expectations."""
    positions = np.arange(0, COUNT, EVERY)
    alone = good(form, dtype, COUNT - len(positions))
    each = {kind: bad(kind, form, dtype, len(positions)) for kind in kinds}
    drawn = [kinds[i % len(kinds)] for i in range(len(positions))]
    guests = [hostile.one(each[kind], i) for i, kind in enumerate(drawn)]
    data, ours = beside(alone, guests, positions - np.arange(len(positions)))
    return data, alone, ours, np.array([EXPECTED[kind] for kind in drawn])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_same_bits_beside_bad_ones(dtype):
    data, alone, ours, expected = spoiled(FORM, dtype)
    solution, reference = solve(**data, throw=False), solve(**alone, throw=False)
    assert len(solution.status) == COUNT
    assert_same_bits(fields(solution, ours), fields(reference))
    assert (reference.status == Status.SOLVED).mean() > 0.99
    theirs = np.delete(solution.status, ours)
    assert (theirs != Status.SOLVED).all()
    at_once = np.isin(expected, (Status.NONFINITE_INPUT, Status.NOT_CONVEX))
    np.testing.assert_array_equal(theirs[at_once], expected[at_once])


@pytest.mark.parametrize(("form", "dtype", "most"), COSTS, ids=str)
def test_bad_ones_cost_little_time(form, dtype, most):
    """Medians of runs in turn, against the same batch without the bad ones."""
    data, alone, *_ = spoiled(form, dtype)
    ratio = time_ratio(data, alone)
    assert ratio <= most


def time_ratio(data, alone, repeats=5):
    """How much longer one batch takes than another."""
    times = [(timed(data), timed(alone)) for _ in range(repeats + 1)][1:]
    spoiled, reference = (median(each) for each in zip(*times, strict=True))
    return spoiled / reference


def timed(data):
    """Seconds of one solve."""
    start = perf_counter()
    solve(**data, throw=False)
    return perf_counter() - start
