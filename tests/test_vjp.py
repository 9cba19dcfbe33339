"""Gradients against central differences of exact answers, in every form and batch."""

import tracemalloc
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from cases import FORMS, OPEN, SINGULAR
from oracle import CORE, Point, differences, pull_back
from problems import Form, Known, neighbours
from pullback import TIGHT, assert_close, at, drawn, oracle_gradients, pulled, random_cotangent

from qpcore import ProblemError, Untrusted, solve, vjp

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


@pytest.mark.parametrize("output", [*Point._fields, "all"])
@pytest.mark.parametrize("form", [*FORMS, *SINGULAR], ids=str)
def test_every_argument_and_output(form, output):
    problems, solution, jacobians = measured(form)
    cotangent = random_cotangent(problems.answer)
    outputs = Point._fields if output == "all" else (output,)
    gradients = pulled(solution, cotangent, outputs)
    for index, by_name in jacobians.items():
        picked = Point(
            *(c[index] * (k in outputs) for k, c in zip(Point._fields, cotangent, strict=True))
        )
        for name, jacobian in by_name.items():
            expected = pull_back(jacobian, picked)
            assert_close(getattr(gradients, name)[index], expected, f"{name} of problem {index}")


@pytest.mark.parametrize("form", [*FORMS, *SINGULAR], ids=str)
def test_shapes_dtypes_and_absent_arguments(form):
    problems, solution, _ = measured(form)
    gradients = pulled(solution, random_cotangent(problems.answer))
    for name in CORE:
        gradient = getattr(gradients, name)
        if name in problems.data:
            assert gradient.shape == problems.data[name].shape
            assert gradient.dtype == np.float64
        else:
            assert gradient is None
    assert_close(gradients.Q, np.swapaxes(gradients.Q, -1, -2), "Q", rtol=1e-15)


@pytest.mark.parametrize("batch", [(), (1,), (9,), (2, 3)], ids=str)
@pytest.mark.parametrize("form", [FORMS[4], FULL, Form(45, 50, 3, box="lower")], ids=str)
def test_gradients_that_the_driver_writes_have_the_bits_of_those_that_wait_for_a_policy(
    form, batch
):
    problems = drawn(form, 131, batch)
    cotangent = random_cotangent(problems.answer)
    leave, wait = (
        pulled(solve(**problems.data, settings=replace(TIGHT, untrusted=policy)), cotangent)
        for policy in (Untrusted.LEAVE, Untrusted.NAN)
    )
    assert leave.trust.trusted.all()
    for name in problems.data:
        np.testing.assert_array_equal(getattr(leave, name), getattr(wait, name))


@pytest.mark.parametrize("form", [FORMS[4], FULL, OPEN, SINGULAR[1]], ids=str)
def test_float32(form):
    """At tol 1e-5 errors are 1e5 times those at 1e-10: some reach 7e-2, most are far smaller."""
    problems = drawn(form, 111, (9,)).astype(np.float32)
    solution = solve(**problems.data)
    cotangent = random_cotangent(problems.answer)
    gradients = pulled(solution, Point(*(part.astype(np.float32) for part in cotangent)))
    errors = []
    for name, expected in oracle_gradients(problems, cotangent).items():
        gradient = getattr(gradients, name)
        assert gradient.dtype == np.float32
        assert_close(gradient, expected, name, rtol=7e-2)
        errors.append(np.abs(gradient - expected).ravel())
    assert np.median(np.concatenate(errors)) <= 1e-4


@pytest.mark.parametrize("form", [FULL, SINGULAR[0]], ids=str)
@pytest.mark.parametrize("name", CORE)
def test_gradient_of_shared_arguments_is_the_sum_over_the_batch(form, name):
    problem = drawn(form, 112)
    if name not in problem.data:
        pytest.skip(f"the form {form} has no {name}")
    problems = neighbours(problem, name, 11)
    cotangent = random_cotangent(problems.answer)
    gradients = pulled(solve(**problems.data, settings=TIGHT), cotangent)
    for argument, expected in oracle_gradients(problems, cotangent).items():
        assert_close(getattr(gradients, argument), expected, argument)


def test_batch_axes_that_broadcast():
    problem = drawn(FULL, 113)
    added = {"Q": (2, 1), "q": (3,), "G": (1, 3), "h": (2, 3), "h_lower": (), "A": (1, 1)}
    added |= {"b": (2, 1), "lb": (1,), "ub": (2, 1)}
    rng, data = np.random.default_rng(114), {}
    for name, value in problem.data.items():
        noise = 1e-5 * rng.standard_normal((*added[name], *value.shape))
        data[name] = value + (noise + np.swapaxes(noise, -1, -2) if name == "Q" else noise)
    spread = [
        type(part)(*(np.broadcast_to(v, (2, 3, *v.shape)) for v in part))
        for part in (problem.answer, problem.active)
    ]
    problems = Known(data, *spread)
    problems = Known(data, problems.solved(), problems.active)
    cotangent = random_cotangent(problems.answer)
    gradients = pulled(solve(**data, settings=TIGHT), cotangent)
    for name, expected in oracle_gradients(problems, cotangent).items():
        assert_close(getattr(gradients, name), expected, name)


def test_expanded_arguments_get_a_gradient_of_their_expanded_shape():
    problem = drawn(FULL, 115)
    data = {name: np.broadcast_to(v, (4, *v.shape)) for name, v in problem.data.items()}
    cotangent = random_cotangent(Point(*(np.stack([part] * 4) for part in problem.answer)))
    gradients = pulled(solve(**data, settings=TIGHT), cotangent)
    for index in range(4):
        single = Known(problem.data, problem.answer, problem.active)
        for name, expected in oracle_gradients(single, at(cotangent, index)).items():
            assert_close(getattr(gradients, name)[index], expected, name)


def test_a_limit_given_as_one_number_gets_the_sum_over_the_entries():
    data = {"Q": np.eye(3), "q": np.array([[-2.0, -3, 0], [-2, 0.5, 0.5]])}
    gradients = vjp(solve(**data, lb=-1.0, ub=1.0), dx=np.ones((2, 3)))
    assert gradients.ub.shape == gradients.lb.shape == ()
    np.testing.assert_allclose([gradients.ub, gradients.lb], [3, 0], atol=1e-6)


def test_shared_matrices_cost_no_memory_per_problem():
    """Peak growth below 3 (n + m + p) numbers a problem, all gradients included."""
    n, m, p, batch = 30, 20, 10, 2000
    problem = drawn(Form(n, m, p), 116).data
    q = problem["q"] + 1e-3 * np.random.default_rng(117).standard_normal((batch, n))
    solution = solve(**problem | {"q": q})
    dx = np.ones_like(solution.x)
    vjp(solution, dx=dx)
    tracemalloc.start()
    vjp(solution, dx=dx)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * batch * (n + m + p) * 8, f"{peak / batch / (n + m + p) / 8:.2f} numbers"


def test_only_wanted_gradients_are_computed():
    problems, solution, _ = measured(FULL)
    cotangent = random_cotangent(problems.answer)
    every = vjp(solution, *cotangent)
    some = vjp(solution, *cotangent, wanted=["q", "h_lower"])
    np.testing.assert_array_equal(some.q, every.q)
    np.testing.assert_array_equal(some.h_lower, every.h_lower)
    assert some.Q is None
    assert some.G is None
    with pytest.raises(ProblemError, match="H"):
        vjp(solution, *cotangent, wanted=["H"])
