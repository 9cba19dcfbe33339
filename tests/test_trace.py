"""The trace of a solve: which entry is which iterate; a trace that changes no answer."""

from dataclasses import FrozenInstanceError, fields
from functools import cache

import numpy as np
import pytest
from cases import FAILURES, FORMS, OPEN, SINGULAR, beside, failing
from checks import assert_same_bits
from checks import fields as outputs
from problems import Form, known

from qpcore import Settings, SolveError, Status, Trace, solve

NAMES = [field.name for field in fields(Trace)]
STEPS = ["sigma", "alpha"]
MEASURES = {
    "primal_residual": "primal_scale",
    "dual_residual": "dual_scale",
    "duality_gap": "gap_scale",
}
DTYPES = [np.float64, np.float32]
TRACED = Settings(trace=True)


@cache
def data_of(form, dtype=np.float64, count=11):
    data = known(form, 120, (count,)).data
    return {name: value.astype(dtype) for name, value in data.items()}


def mixed(dtype=np.float64):
    """Problems that end in every way that data can bring about, and which of them are good."""
    spoiled = [failing(status, OPEN, 121) for status in FAILURES]
    data, good = beside(data_of(OPEN), spoiled, [0, 2, 5, 11])
    return {name: value.astype(dtype) for name, value in data.items()}, good


def arrays(trace, index=...):
    return {name: getattr(trace, name)[index] for name in NAMES}


def last(trace, name, iterations):
    """Each problem's last entry."""
    return np.take_along_axis(getattr(trace, name), iterations[..., None].astype(int), -1)[..., 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [*FORMS, *SINGULAR], ids=str)
def test_the_last_entry_is_the_answer(form, dtype):
    solution = solve(**data_of(form, dtype), settings=TRACED)
    rounding = 20 * (form.n + form.m + form.p) * np.finfo(dtype).eps
    for measure, scale in MEASURES.items():
        found = last(solution.trace, measure, solution.iterations)
        error = np.abs(found - getattr(solution, measure)())
        assert (error <= rounding * (1 + getattr(solution, scale)())).all(), measure


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shorter_solve_has_the_first_entries(dtype):
    data = data_of(OPEN, dtype)
    whole = solve(**data, settings=TRACED).trace
    for limit in (1, 2, 4):
        settings = Settings(max_iterations=limit, trace=True)
        solution = solve(**data, settings=settings, throw=False)
        assert solution.iterations.max() == limit
        for name in NAMES:
            known_steps = limit if name in STEPS else limit + 1
            short, long = getattr(solution.trace, name), getattr(whole, name)
            np.testing.assert_array_equal(short[:, :known_steps], long[:, :known_steps], name)
            assert short.shape == (11, limit + 1)
        residual = solution.dual_residual()[:, None]
        near = np.isclose(solution.trace.dual_residual, residual, rtol=1e-3, atol=1e-5)
        assert near.any(axis=1).all()  # what is returned is one of the iterates


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_entries_end_with_the_problem(dtype, threads):
    data, _ = mixed(dtype)
    solution = solve(**data, settings=Settings(trace=True, threads=threads), throw=False)
    most = solution.iterations.max()
    decided = [Status.NOT_CONVEX, Status.NONFINITE_INPUT]
    end = np.where(np.isin(solution.status, decided), -1, solution.iterations)
    assert len(np.unique(end)) > 2
    for name, array in arrays(solution.trace).items():
        assert array.shape == (15, most + 1)
        assert array.dtype == dtype
        there = np.arange(most + 1) < (end + (name not in STEPS))[:, None]
        np.testing.assert_array_equal(np.isfinite(array), there, name)


@pytest.mark.parametrize("limits", [{"lb": [1.0, 0], "ub": [0.0, 1]}, {"h": -1.0, "h_lower": 1.0}])
def test_crossed_limits_leave_no_entries(limits):
    data = {"Q": np.eye(2), "q": np.ones(2), "G": np.eye(2), "h": 1.0} | limits
    solution = solve(**data, settings=TRACED, throw=False)
    assert solution.status == Status.PRIMAL_INFEASIBLE
    assert all(np.isnan(array).all() for array in arrays(solution.trace).values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_answers_have_the_same_bits_with_and_without(dtype, threads):
    data, _ = mixed(dtype)
    traced = solve(**data, settings=Settings(trace=True, threads=threads), throw=False)
    plain = solve(**data, settings=Settings(threads=threads), throw=False)
    assert plain.trace is None
    assert_same_bits(outputs(traced), outputs(plain))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_trace_does_not_depend_on_neighbours(dtype):
    data, good = mixed(dtype)
    together = solve(**data, settings=TRACED, throw=False).trace
    for index in good[[0, 5, -1]]:
        alone = solve(**{name: value[index] for name, value in data.items()}, settings=TRACED)
        reached = alone.iterations + 1
        assert_same_bits(arrays(alone.trace), arrays(together, (index, slice(reached))))


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e5])
@pytest.mark.parametrize("form", [Form(6, 9), Form(5, 8, 2, box="lower")], ids=str)
def test_mu_is_the_gap_per_limit_whatever_the_unit_of_the_cost(form, unit):
    """Once the steps have taken away what was left of the linear conditions: 1 - alpha is left."""
    data = dict(data_of(form))
    data["Q"], data["q"] = unit * data["Q"], unit * data["q"]
    trace = solve(**data, settings=TRACED).trace
    left = np.cumprod(1 - trace.alpha[:, :-1], axis=1)
    telling = (left < 1e-9) & (trace.duality_gap[:, 1:] > 1e-4 * unit)
    assert telling.sum() > 5
    gap = (form.m + (form.box == "lower") * form.n) * trace.mu[:, 1:]
    np.testing.assert_allclose(gap[telling], trace.duality_gap[:, 1:][telling], rtol=1e-2)


def test_steps_are_those_of_the_method():
    trace = solve(**data_of(Form(12, 30)), settings=TRACED).trace
    taken = np.isfinite(trace.alpha)
    assert ((trace.alpha[taken] > 0) & (trace.alpha[taken] <= 1)).all()
    assert (trace.sigma[taken] >= 0).all()


def test_without_inequalities_there_is_no_mu():
    trace = solve(**data_of(Form(6, p=3)), settings=TRACED).trace
    assert np.isnan(trace.mu).all()
    assert np.isnan(trace.sigma).all()
    assert np.isfinite(trace.dual_residual[:, 0]).all()


def test_a_broken_step_is_not_taken():
    solution = solve(np.eye(2), [1e160, -1e160], settings=TRACED, throw=False)
    assert solution.status == Status.NUMERICAL_ERROR
    assert solution.trace.alpha.shape == (solution.iterations + 1,)
    assert np.isnan(solution.trace.alpha[-2:]).all()
    assert np.isnan(solution.trace.dual_residual[-1])


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (4, 0)])
def test_shape(shape):
    data = {"Q": np.eye(3), "q": np.ones((*shape, 3)), "lb": 0.0}
    solution = solve(**data, settings=TRACED)
    most = solution.iterations.max(initial=0)
    for array in arrays(solution.trace).values():
        assert array.shape == (*shape, most + 1)
        assert array.flags.c_contiguous


def test_an_error_carries_the_trace():
    data, _ = mixed()
    with pytest.raises(SolveError) as caught:
        solve(**data, settings=TRACED)
    assert np.isfinite(caught.value.solution.trace.mu[0, 0])


def test_frozen():
    trace = solve(np.eye(2), np.ones(2), settings=TRACED).trace
    with pytest.raises(FrozenInstanceError):
        trace.mu = None
