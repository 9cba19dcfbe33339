"""Active set methods that come before the interior-point method, and what they are for."""

import numpy as np
import pytest
from cases import FAILURES, FORMS, GRID, SINGULAR, failing
from checks import assert_answers, assert_same_bits, assert_solved, fields
from problems import Form, known, paper

from qpcore import Settings, Status, solve, stages
from qpcore.problem import Problem

COUNT = 37

DUAL = [
    Form(1, 1),
    Form(6, 7),
    Form(6, 5, 2, rows="both"),
    Form(9, 7, 3, rows="mixed"),
    Form(30, 36),
]
"""Forms that the active set method on the dual is for."""

BOUNDS = [
    Form(1, box="both"),
    Form(7, box="lower"),
    Form(30, box="both"),
    Form(12, box="mixed", fixed=2),
    Form(8, p=1, box="upper"),
]
"""Forms that the active set method from the start on is for."""


@pytest.fixture
def forced(monkeypatch):
    """A function that makes all problems go one way in."""

    def force(way):
        monkeypatch.setattr(stages, "way_in", lambda problem, settings, alone: way)

    return force


def way_in(data, alone=False, **settings):
    return stages.way_in(Problem.parse(**data), Settings(**settings), alone)


# ---- who goes which way --------------------------------------------------------------------------


@pytest.mark.parametrize("form", DUAL, ids=str)
def test_few_rows_go_by_the_dual(form):
    data = known(form, 1, (3,)).data
    assert way_in(data) == way_in(data, precision="mixed") == way_in(data, alone=True) == "dual"


@pytest.mark.parametrize("form", BOUNDS, ids=str)
def test_bounds_go_by_the_active_set(form):
    data = known(form, 1, (3,)).data
    assert way_in(data) == way_in(data, precision="mixed") == way_in(data, alone=True) == "bounds"


@pytest.mark.parametrize(
    "form", [Form(5, 12), Form(5), Form(5, p=2), Form(5, p=1, box="both"), Form(5, 2, box="lower")]
)
def test_others_go_by_the_interior_point_method(form):
    data = known(form, 1, (3,)).data
    assert way_in(data) == way_in(data, alone=True, precision="mixed") == "interior"
    assert way_in(data, precision="mixed") == "mixed"


@pytest.mark.parametrize(("form", "way"), [(DUAL[1], "dual"), (BOUNDS[1], "bounds")])
def test_float32_goes_the_same_ways(form, way):
    data = known(form, 1, (3,)).astype(np.float32).data
    assert way_in(data) == way_in(data, precision="mixed") == way
    other = known(Form(5, 12), 1, (3,)).astype(np.float32).data
    assert way_in(other, precision="mixed") == "interior"


# ---- what comes of it ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", DUAL + BOUNDS, ids=str)
def test_answers_are_exact_and_quickly_found(form, forced):
    problems = known(form, 5100, (COUNT,))
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)
    assert_answers(solution, problems, 1e-8)
    error = np.abs(solution.x - problems.answer.x).max(axis=-1)
    assert np.median(error) < 1e-11
    idle = np.concatenate([problems.answer.z == 0, problems.answer.z_box == 0], axis=-1)
    forces = np.concatenate([solution.z, solution.z_box], axis=-1)
    assert (forces[idle] == 0).mean() > 0.8  # no barrier leaves that
    forced("interior")
    assert solution.iterations.mean() < solve(**problems.data).iterations.mean()


@pytest.mark.parametrize("way", ["dual", "bounds"])
def test_answers_of_the_interior_point_method_are_made_exact(way, monkeypatch):
    data = paper(10, 10, 0, 5150, (1024,))
    if way == "bounds":
        data = {name: data[name] for name in "Qq"} | {"lb": -np.ones(10), "ub": np.ones(10)}
    assert way_in(data) == way
    bounds = {
        name: np.broadcast_to(data[name], (1024, 10)) for name in ("lb", "ub") if name in data
    }
    assert_solved(solve(**data), data | bounds, 1e-12)
    monkeypatch.setattr(stages, "LAST", {})
    for kept in (stages.all_stages, stages.kept_plan):
        monkeypatch.setattr(stages, kept.__name__, kept.__wrapped__)
    rough = solve(**data)
    with pytest.raises(AssertionError):  # else none of these problems was left to it
        assert_solved(rough, data | bounds, 1e-12)


@pytest.mark.parametrize("form", DUAL + BOUNDS, ids=str)
@pytest.mark.parametrize("way", ["interior", "mixed"])
def test_the_interior_point_method_serves_them_too(form, way, forced):
    forced(way)
    problems = known(form, 5200, (COUNT,))
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)
    assert_answers(solution, problems, 1e-8)


@pytest.mark.parametrize("form", DUAL + BOUNDS, ids=str)
def test_float32_in_fewer_iterations(form, forced):
    problems = known(form, 5250, (COUNT,)).astype(np.float32)
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-5)
    assert_answers(solution, problems, 1e-4, ["x"])
    forced("interior")
    assert solution.iterations.mean() < solve(**problems.data).iterations.mean()


@pytest.mark.parametrize("form", GRID, ids=str)
def test_the_interior_point_method_solves_the_grid(form, forced):
    forced("interior")
    problems = known(form, 5300 + GRID.index(form), (5,))
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)
    assert_answers(solution, problems, 1e-8)
    assert solution.iterations.max() <= 20


@pytest.mark.parametrize("form", [f for f in FORMS + SINGULAR if f.m and f.box == "none"], ids=str)
def test_the_dual_form_of_any_problem_without_bounds(form, forced):
    # Rows without number, matrices without inverse: what it does not solve goes on to the others.
    forced("dual")
    problems = known(form, 5400, (COUNT,))
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)
    assert_answers(solution, problems, 1e-7)


@pytest.mark.parametrize("form", [f for f in FORMS + SINGULAR if f.m or f.box != "none"], ids=str)
def test_the_active_set_of_any_problem(form, forced):
    forced("bounds")
    problems = known(form, 5500, (COUNT,))
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)
    assert_answers(solution, problems, 1e-7)


@pytest.mark.parametrize("status", FAILURES)
@pytest.mark.parametrize("form", [DUAL[3], Form(6, box="mixed"), Form(8, p=1, box="upper")])
def test_failures_have_their_status(status, form):
    if status == "PRIMAL_INFEASIBLE" and not form.p and not form.m:
        pytest.skip("bounds alone can always be satisfied")
    for seed in range(20):
        data = failing(status, form, 5600 + seed)
        assert way_in(data) != "interior"
        assert solve(**data, throw=False).status == Status[status]


def test_what_the_active_set_leaves_has_the_bits_of_the_interior_point_method(forced):
    data = failing("DUAL_INFEASIBLE", Form(6, 5, 1), 5700)
    found = fields(solve(**data, throw=False))
    forced("interior")
    assert_same_bits(found, fields(solve(**data, throw=False)))


# ---- degenerate problems -------------------------------------------------------------------------


def test_rows_given_twice_and_rows_of_zeros():
    data = dict(known(Form(12, 5), 5800, (COUNT,)).data)
    answer = solve(**data).x
    zeros = np.zeros((COUNT, 1, 12))
    data["G"] = np.concatenate([data["G"], data["G"], zeros], axis=1)
    data["h"] = np.concatenate([data["h"], data["h"], np.ones((COUNT, 1))], axis=1)
    assert way_in(data) == "dual"
    solution = solve(**data)
    assert_solved(solution, data, 1e-8)
    np.testing.assert_allclose(solution.x, answer, atol=1e-7)


def test_equations_given_twice():
    data = dict(known(Form(12, 5, 2), 5900, (COUNT,)).data)
    answer = solve(**data).x
    data["A"], data["b"] = np.tile(data["A"], (1, 2, 1)), np.tile(data["b"], 2)
    assert way_in(data) == "dual"
    solution = solve(**data)
    assert_solved(solution, data, 1e-8)
    np.testing.assert_allclose(solution.x, answer, atol=1e-7)


def test_more_rows_meet_in_the_answer_than_there_are_variables():
    rng = np.random.default_rng(6000)
    G = rng.standard_normal((COUNT, 7, 6))
    x = rng.standard_normal((COUNT, 6, 1))
    z = rng.uniform(0.1, 1, (COUNT, 7, 1)) * (rng.random((COUNT, 7, 1)) < 0.5)
    data = {"Q": np.eye(6), "q": -(x + G.swapaxes(1, 2) @ z)[..., 0], "G": G, "h": (G @ x)[..., 0]}
    solution = solve(**data)
    assert_solved(solution, data, 1e-8)
    np.testing.assert_allclose(solution.x, x[..., 0], atol=1e-6)


@pytest.mark.parametrize("condition", [1e4, 1e8, 1e12])
def test_ill_conditioned_matrices(condition):
    problems = known(Form(20, 15, 2, condition=condition), 6100, (COUNT,))
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("form", [DUAL[4], BOUNDS[2]], ids=str)
def test_iterations_are_limited(form, most):
    data = known(form, 6200, (COUNT,)).data
    solution = solve(**data, settings=Settings(max_iterations=most, trace=True), throw=False)
    assert solution.iterations.max() <= most
    assert ((solution.status == Status.SOLVED) | (solution.iterations == most)).all()
    assert np.isfinite(solution.x).all()
    assert solution.trace.mu.shape == (COUNT, solution.iterations.max() + 1)


@pytest.mark.parametrize("form", DUAL[1:] + BOUNDS[1:], ids=str)
def test_the_trace_ends_with_the_answer(form):
    data = known(form, 6300, (COUNT,)).data
    solution = solve(**data, settings=Settings(trace=True))
    assert_same_bits(fields(solve(**data), ...), fields(solution, ...))
    for name in ("primal_residual", "dual_residual", "duality_gap"):
        entry = getattr(solution.trace, name)
        last = np.take_along_axis(entry, solution.iterations[:, None].astype(int), -1)[:, 0]
        np.testing.assert_allclose(np.abs(last), np.abs(getattr(solution, name)()), atol=1e-8)


def test_alone_and_in_a_pack():
    data = paper(100, 100, 0, 6400, (2,))
    together = solve(**data)
    for index in range(2):
        alone = solve(**{name: value[index] for name, value in data.items()})
        np.testing.assert_allclose(alone.x, together.x[index], atol=1e-8)
        assert alone.iterations == together.iterations[index]
