"""Settings(precision="mixed"): the answers of double, on everything that float32 cannot tell."""

import numpy as np
import pytest
from cases import FAILURES, FORMS, GRID, OPEN, SINGULAR, beside, failing
from checks import assert_answers, assert_same_bits, assert_solved, fields
from problems import Form, known, paper

from qpcore import Settings, Status, solve, stages, vjp
from qpcore.cpu import MOST_IN_PACKS
from qpcore.kernels.certificate import ACTIVE_SET
from qpcore.problem import Problem
from qpcore.stages import parameters_of

MIXED = Settings(precision="mixed")
COUNT = 37


@pytest.fixture(autouse=True)
def not_by_other_ways(monkeypatch):
    """The guess in float32, and double without it, for problems that others ways are for too."""

    def way_in(problem, settings, alone):
        packs = problem.dtype == np.float64 and problem.n + problem.p <= MOST_IN_PACKS
        return "mixed" if settings.precision == "mixed" and packs and not alone else "interior"

    monkeypatch.setattr(stages, "way_in", way_in)


def solve_mixed(data, **settings):
    return solve(**data, settings=Settings(precision="mixed", **settings), throw=False)


@pytest.mark.parametrize("form", GRID, ids=str)
def test_random_problems(form):
    problems = known(form, 3000 + GRID.index(form), (5,))
    solution = solve_mixed(problems.data)
    assert solution.x.dtype == np.float64
    assert_solved(solution, problems.data, 1e-8)
    assert_answers(solution, problems, 1e-8)


@pytest.mark.parametrize("form", [*FORMS, *SINGULAR], ids=str)
def test_answers_are_exact_to_the_last_digits(form):
    problems = known(form, 3200, (COUNT,))
    solution = solve_mixed(problems.data)
    assert_solved(solution, problems.data, 1e-8)
    error = np.abs(solution.x - problems.answer.x).max(axis=-1)
    assert np.median(error) < 1e-11
    assert error.max() < 1e-9


def test_most_problems_of_the_paper_are_answered_by_the_guess():
    data = paper(30, 30, 0, 3, (COUNT,))
    double, mixed = solve(**data), solve_mixed(data)
    assert_solved(mixed, data, 1e-8)
    assert mixed.iterations.mean() < double.iterations.mean()


@pytest.mark.parametrize("status", FAILURES)
@pytest.mark.parametrize("form", [OPEN, Form(5, 8, box="both")], ids=str)
def test_failures_have_the_status_of_double(status, form):
    if status == "DUAL_INFEASIBLE" and form.box == "both":
        pytest.skip("nothing is unbounded in a box")
    for seed in range(20):
        data = failing(status, form, 3300 + seed)
        assert solve_mixed(data).status == Status[status]


def test_curvature_that_float32_does_not_see():
    Q = np.diag([1.0, -1e-6])
    box = {"lb": -np.ones(2), "ub": np.ones(2)}
    assert solve_mixed({"Q": Q, "q": np.ones(2)} | box).status == Status.NOT_CONVEX


def test_limits_that_are_equal_in_float32_alone():
    ub = np.array([1 + 1e-12, 1.0])
    solution = solve_mixed({"Q": np.eye(2), "q": [-3.0, 3.0], "lb": np.ones(2), "ub": ub})
    assert solution.status == Status.SOLVED
    np.testing.assert_allclose(solution.x, [1.0, 1.0], atol=1e-8)
    crossed = solve_mixed({"Q": np.eye(2), "q": np.ones(2), "lb": ub, "ub": np.ones(2)})
    assert crossed.status == Status.PRIMAL_INFEASIBLE


@pytest.mark.parametrize("unit", [1e-60, 1e-30, 1e20, 1e60])
def test_units_beyond_float32(unit):
    data = dict(known(Form(6, 9, 2, box="both"), 3400, (9,)).data)
    expected = solve(**data)
    data |= {"Q": unit * data["Q"], "q": unit * data["q"]}
    solution = solve_mixed(data)
    reference = solve(**data, throw=False)
    assert (solution.status == reference.status).all()
    if unit == 1e20:  # far below one the tolerance asks nothing of x; 1e60 counts as overflow
        assert (solution.status == Status.SOLVED).all()
        np.testing.assert_allclose(solution.x, expected.x, atol=1e-6)


def test_degenerate_vertices():
    # More rows meet at the answer than there are variables; some of them are doubled.
    rng = np.random.default_rng(3500)
    x = rng.standard_normal((COUNT, 4))
    G = rng.standard_normal((COUNT, 12, 4))
    G[:, 6:9] = G[:, :3]
    h = (G @ x[..., None])[..., 0]
    z = rng.random((COUNT, 12))
    data = {"Q": np.zeros((4, 4)), "q": -(G.swapaxes(1, 2) @ z[..., None])[..., 0], "G": G, "h": h}
    solution = solve_mixed(data)
    assert_solved(solution, data | {"Q": np.zeros((COUNT, 4, 4))}, 1e-8)
    np.testing.assert_allclose(solution.x, x, atol=1e-6)


@pytest.mark.parametrize("size", [1, 8, 9, 16, 17])
def test_neighbours_change_no_bit(size):
    data = dict(known(OPEN, 3600, (COUNT,)).data)
    expected = solve_mixed(data)
    part = solve_mixed({name: value[-size:] for name, value in data.items()})
    assert_same_bits(fields(part), fields(expected, slice(COUNT - size, None)))


@pytest.mark.parametrize("threads", [1, 2])
def test_bad_neighbours_change_no_bit(threads):
    data = dict(known(OPEN, 3600, (COUNT,)).data)
    expected = solve_mixed(data)
    spoiled = [failing(status, OPEN, 3601) for status in FAILURES]
    joined, ours = beside(data, spoiled, [0, 3, 20, 37])
    found = solve_mixed(joined, threads=threads)
    assert_same_bits(fields(found, ours), fields(expected))


def test_a_problem_that_the_active_set_leaves_has_the_bits_of_double():
    # Unbounded ones never get a guess; infeasible ones neither.
    for status in ("PRIMAL_INFEASIBLE", "DUAL_INFEASIBLE"):
        data = failing(status, OPEN, 3700)
        mixed, double = fields(solve_mixed(data)), fields(solve(**data, throw=False))
        assert mixed.pop("iterations") > double.pop("iterations")
        assert_same_bits(mixed, double)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 9])
def test_iterations_are_limited(most):
    data = dict(known(OPEN, 3800, (COUNT,)).data)
    solution = solve_mixed(data, max_iterations=most, trace=True)
    assert solution.iterations.max() <= most
    assert ((solution.status == Status.SOLVED) | (solution.iterations == most)).all()
    assert np.isfinite(solution.x).all()
    assert solution.trace.mu.shape == (COUNT, solution.iterations.max() + 1)


def test_the_last_entry_of_the_trace_is_the_answer():
    data = dict(known(OPEN, 3900, (COUNT,)).data)
    solution = solve_mixed(data, trace=True)
    assert_same_bits(fields(solve_mixed(data), ...), fields(solution, ...))
    for name in ("primal_residual", "dual_residual", "duality_gap"):
        entry = getattr(solution.trace, name)
        last = np.take_along_axis(entry, solution.iterations[:, None].astype(int), -1)[:, 0]
        np.testing.assert_allclose(np.abs(last), np.abs(getattr(solution, name)()), atol=1e-12)


def test_gradients():
    problems = known(Form(7, 12, 2, rows="mixed", box="mixed"), 4000, (COUNT,))
    dx = np.random.default_rng(0).standard_normal((COUNT, 7))
    double = vjp(solve(**problems.data, settings=Settings(tol=1e-10)), dx)
    mixed = vjp(solve_mixed(problems.data), dx)
    for name in problems.data:
        expected = getattr(double, name)
        error = np.abs(getattr(mixed, name) - expected).max()
        assert error <= 1e-7 * np.abs(expected).max()


def test_large_problems_are_solved_in_double():
    data = known(Form(170, 20, 40, box="lower"), 4100, (2,)).data
    assert_same_bits(fields(solve_mixed(data)), fields(solve(**data)))


def test_float32_problems_ignore_it():
    data = {k: v.astype(np.float32) for k, v in known(OPEN, 4200, (9,)).data.items()}
    assert_same_bits(fields(solve_mixed(data)), fields(solve(**data)))


def test_float32_comes_first_and_double_last():
    problem = Problem.parse(**known(OPEN, 4300, (3,)).data)
    mixed, double = (parameters_of(problem, settings) for settings in (MIXED, Settings()))
    *mixed, last = mixed  # which makes answers exact that double gave
    assert tuple(mixed[-len(double) :]) == double
    assert type(mixed[0].tol) is np.float32
    assert {stage.sought for stage in [*mixed[1 : -len(double)], last]} == {ACTIVE_SET}
