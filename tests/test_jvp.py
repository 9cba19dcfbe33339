"""Forward mode against central differences of exact answers, and against reverse mode."""

import tracemalloc
from functools import cache

import numpy as np
import pytest
from cases import FORMS, OPEN, SINGULAR, beside, failing
from oracle import CORE, Point, differences
from problems import Form, known, neighbours
from pullback import TIGHT, assert_close, drawn, pulled, random_cotangent

from qpcore import ProblemError, Settings, jvp, solve

FULL = Form(6, 9, 2, rows="both", box="both")


@cache
def measured(form):
    """Three problems, their solution, the central differences by every argument of each."""
    problems = drawn(form, 130, (3,))
    jacobians = {
        index: {name: differences(data, active, name) for name in data}
        for index, data, _, active in problems
    }
    return problems, solve(**problems.data, settings=TIGHT), jacobians


def tangents_of(data, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(np.shape(value)) for name, value in data.items()}


def parts(tangents):
    return [getattr(tangents, name) for name in Point._fields]


@pytest.mark.parametrize("argument", [*CORE, "all"])
@pytest.mark.parametrize("form", [*FORMS, *SINGULAR], ids=str)
def test_every_argument_and_output(form, argument):
    problems, solution, jacobians = measured(form)
    if argument != "all" and argument not in problems.data:
        pytest.skip(f"the form {form} has no {argument}")
    moved = tangents_of(problems.data, 230)
    moved = moved if argument == "all" else {argument: moved[argument]}
    found = parts(jvp(solution, **moved))
    for index, by_name in jacobians.items():
        expected = [0.0, 0.0, 0.0, 0.0]
        for name, tangent in moved.items():
            t = tangent[index]
            t = (t + t.T) / 2 if name == "Q" else t
            for k, J in enumerate(by_name[name]):
                expected[k] = expected[k] + np.tensordot(J, t, t.ndim)
        for output, part, exact in zip(Point._fields, found, expected, strict=True):
            assert_close(part[index], exact, f"{output} by {argument} of problem {index}")


@pytest.mark.parametrize("argument", CORE)
@pytest.mark.parametrize("output", Point._fields)
def test_jvp_and_vjp_are_transposes(argument, output):
    """Pair by pair, over forms that have all of them between them."""
    for form in (FULL, FORMS[-1], SINGULAR[2], SINGULAR[5]):
        problems = drawn(form, 231, (4,))
        if argument not in problems.data or getattr(problems.answer, output).size == 0:
            continue
        solution = solve(**problems.data, settings=TIGHT)
        cotangent = random_cotangent(problems.answer, 232)
        tangent = tangents_of(problems.data, 233)[argument]
        pushed = getattr(jvp(solution, **{argument: tangent}), output)
        gradient = getattr(pulled(solution, cotangent, [output]), argument)
        ahead, back = getattr(cotangent, output) * pushed, gradient * tangent
        size = max(np.abs(ahead).sum(), np.abs(back).sum())
        assert abs(ahead.sum() - back.sum()) <= 1e-10 * max(size, 1), str(form)


@pytest.mark.parametrize("shared", CORE)
def test_shared_tangents_move_every_problem(shared):
    problems = neighbours(drawn(FULL, 234), "q", 5)
    solution = solve(**problems.data, settings=TIGHT)
    tangent = np.random.default_rng(235).standard_normal(np.shape(problems.data[shared])[-2:])
    tangent = tangent[-1] if CORE[shared] == 1 and tangent.ndim == 2 else tangent
    spread = np.broadcast_to(tangent, (5, *tangent.shape)).copy()
    for once, each in zip(
        parts(jvp(solution, **{shared: tangent})),
        parts(jvp(solution, **{shared: spread})),
        strict=True,
    ):
        np.testing.assert_allclose(once, each, rtol=1e-12, atol=1e-12)


def test_a_shared_tangent_is_not_copied_per_problem():
    """Peak memory of the products: far below one matrix for each problem."""
    n, batch = 40, 500
    q = np.random.default_rng(236).standard_normal((batch, n))
    # One thread: another one's workspace may appear in the second call only.
    solution = solve(np.eye(n), q, lb=-1.0, settings=Settings(threads=1))
    tangent = np.random.default_rng(237).standard_normal((n, n))
    jvp(solution, Q=tangent)
    tracemalloc.start()
    jvp(solution, Q=tangent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < batch * n * n * 8 / 3, f"{peak} bytes"


def test_batch_axes_broadcast():
    problems = drawn(FULL, 238, (2, 3))
    solution = solve(**problems.data, settings=TIGHT)
    rng = np.random.default_rng(239)
    moved = {"Q": rng.standard_normal((3, 6, 6)), "q": rng.standard_normal((2, 1, 6)), "h": 1.0}
    whole = {"Q": np.broadcast_to(moved["Q"], (2, 3, 6, 6)), "h": np.ones((2, 3, 9))}
    whole["q"] = np.broadcast_to(moved["q"], (2, 3, 6))
    for one, other in zip(
        parts(jvp(solution, **moved)), parts(jvp(solution, **whole)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def test_no_tangents_give_zeros():
    solution = solve(**known(OPEN, 240, (5,)).data)
    for name in Point._fields:
        tangent = getattr(jvp(solution), name)
        assert tangent.shape == getattr(solution, name).shape
        assert (tangent == 0).all()


def test_failed_problems_are_nan_and_alone():
    good = known(OPEN, 241, (9,)).data
    data, ours = beside(good, [failing("DUAL_INFEASIBLE", OPEN, 242)], [4])
    found = parts(jvp(solve(**data, throw=False), q=np.ones(OPEN.n)))
    expected = parts(jvp(solve(**good), q=np.ones(OPEN.n)))
    for part, alone in zip(found, expected, strict=True):
        assert np.isnan(part[4]).all()
        np.testing.assert_array_equal(part[ours], alone)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("q", (5,)), ("Q", (6,)), ("G", (2, 9, 6)), ("h", (4, 5, 9)), ("b", (3,)), ("lb", (5, 5))],
)
def test_a_tangent_that_does_not_fit_is_named(name, shape):
    solution = solve(**known(FULL, 243, (5,)).data)
    with pytest.raises(ProblemError, match=rf"tangent of {name}\b"):
        jvp(solution, **{name: np.ones(shape)})


def test_a_tangent_of_an_absent_argument_is_named():
    solution = solve(np.eye(2), [1.0, 2.0], lb=0.0)
    with pytest.raises(ProblemError, match="tangent of ub"):
        jvp(solution, ub=1.0)
