"""Answers: residuals by two judges, the known answer, other solvers."""

import numpy as np
import pytest
from cases import FORMS, GRID, SINGULAR
from checks import assert_answers, assert_optimal, assert_solved
from oracle import Point, interior_point
from problems import Form, known, paper
from scipy.optimize import linprog, minimize

from qpcore import Settings, cpu, solve, vjp

PER_FORM = -(-1000 // len(GRID))  # so that the grid has at least 1000 problems


def assert_solution_agrees(solution, tol):
    """Solution's own measures, which users see, say solved too."""
    for residual, scale in (
        (solution.primal_residual(), solution.primal_scale()),
        (solution.dual_residual(), solution.dual_scale()),
        (solution.duality_gap(), solution.gap_scale()),
    ):
        assert (residual <= tol * (1 + scale)).all()


@pytest.mark.parametrize("form", GRID, ids=str)
def test_a_thousand_random_problems(form):
    problems = known(form, 1000 + GRID.index(form), (PER_FORM,))
    solution = solve(**problems.data)
    assert solution.x.dtype == np.float64
    assert_solved(solution, problems.data, 1e-8)
    assert_solution_agrees(solution, 1e-8)
    assert_answers(solution, problems, 1e-8)
    assert solution.iterations.max() <= 20


@pytest.mark.parametrize("form", [form for form in GRID if form.n <= 12], ids=str)
def test_float32(form):
    problems = known(form, 2000 + GRID.index(form), (5,)).astype(np.float32)
    solution = solve(**problems.data)
    assert solution.x.dtype == solution.z_box.dtype == np.float32
    assert_solved(solution, problems.data, 1e-5)
    assert_solution_agrees(solution, 1e-5)
    assert_answers(solution, problems, 1e-5, ["x"])
    assert solution.iterations.max() <= 20


# float32 takes a minute to compile for what both others test in part: its kernels in packs, and the
# same single elements in float64. That nothing in a kernel is of another precision, PTX shows too.
@pytest.mark.timeout(1800)  # with an empty cache, on a busy machine
@pytest.mark.parametrize(
    ("dtype", "tol", "agreement"),
    [(np.float64, 1e-8, 1e-6), pytest.param(np.float32, 1e-5, 1e-2, marks=pytest.mark.slow)],
)
def test_large_problems(dtype, tol, agreement, monkeypatch):
    # Solved one at a time, with code of their own: a bare float64 in a kernel once kept it from
    # being compiled.
    problems = known(Form(170, 20, 40, box="lower"), 2100, (2,)).astype(dtype)
    solution = solve(**problems.data)
    assert solution.x.dtype == dtype
    assert_solved(solution, problems.data, tol)
    dx = np.ones_like(solution.x)
    gradients = vjp(solution, dx)
    assert gradients.q.dtype == dtype
    monkeypatch.setattr(cpu, "MOST_IN_PACKS", 1000)
    exact = vjp(solve(**{k: v.astype(np.float64) for k, v in problems.data.items()}), dx)
    np.testing.assert_allclose(gradients.q, exact.q, atol=agreement * np.abs(exact.q).max())


@pytest.mark.parametrize("form", SINGULAR, ids=str)
def test_singular_hessians_and_linear_programs(form):
    problems = known(form, 30, (40,))
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)
    assert_solution_agrees(solution, 1e-8)
    assert_answers(solution, problems, 1e-8)
    assert solution.iterations.max() <= 25


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("sides", ["upper", "both"])
def test_ill_conditioned_hessians(condition, sides):
    form = Form(10, 12, 2, rows=sides, box=sides, condition=condition)
    problems = known(form, 31, (20,))
    assert_solved(solve(**problems.data), problems.data, 1e-8)


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-10])
@pytest.mark.parametrize("form", [FORMS[-2], SINGULAR[0]], ids=str)
def test_tolerance_is_kept(form, tol):
    problems = known(form, 32, (20,))
    solution = solve(**problems.data, settings=Settings(tol=tol))
    assert_solved(solution, problems.data, tol)
    assert (solution.iterations <= solve(**problems.data).iterations).all() or tol < 1e-8


@pytest.mark.parametrize("shape", [(3, 4, 0), (10, 10, 0), (8, 20, 3), (40, 40, 0)], ids=str)
def test_the_paper_profile(shape):
    data = paper(*shape, seed=33, batch=(9,))
    solution = solve(**data)
    assert_solved(solution, data, 1e-8)
    assert solution.iterations.max() <= 20
    expected = interior_point({name: value[4] for name, value in data.items()})
    np.testing.assert_allclose(solution.x[4], expected.x, rtol=0, atol=1e-5)


NOT_UNIQUE = {
    "face of a linear program": {
        "Q": np.zeros((2, 2)), "q": [-1.0, -1], "G": [[1.0, 1]], "h": [1.0], "lb": 0.0,
    },
    "feasibility only": {
        "Q": np.zeros((3, 3)), "q": np.zeros(3), "A": [[1.0, 1, 1]], "b": [1.0], "lb": 0.0,
        "ub": 0.5,
    },
    "segment of minimisers": {"Q": [[2.0, 2], [2, 2]], "q": [-2.0, -2], "lb": 0.0, "ub": 1.0},
    "nothing to do": {"Q": np.zeros((2, 2)), "q": np.zeros(2)},
    "line of minimisers": {"Q": [[1.0, 1], [1, 1]], "q": [1.0, 1]},
    "dependent equalities": {
        "Q": np.eye(3), "q": [1.0, 0, -1], "A": [[1.0, 1, 1], [1, 1, 1], [2, 2, 2]],
        "b": [3.0, 3, 6],
    },
    "repeated rows": {"Q": np.eye(2), "q": [-2.0, -2], "G": np.ones((5, 2)), "h": np.ones(5)},
    "one feasible point": {
        "Q": [[2.0, 1], [1, 2]], "q": [3.0, 3], "G": np.eye(2), "h": [1.0, 2],
        "h_lower": [1.0, 2],
    },
    "zero rows": {
        "Q": np.eye(2), "q": [-3.0, 0], "G": [[0.0, 0], [1, 0], [0, 0]], "h": [0.0, 1, 1],
        "A": [[0.0, 0]], "b": [0.0],
    },
    "all variables fixed": {"Q": np.eye(2), "q": [1.0, 2], "lb": [3.0, 4], "ub": [3.0, 4]},
    "weakly active": {"Q": np.eye(2), "q": [-1.0, -2], "G": np.eye(2), "h": [1.0, 5]},
}  # fmt: skip


@pytest.mark.parametrize("data", NOT_UNIQUE.values(), ids=NOT_UNIQUE)
def test_degenerate_problems(data):
    assert_solved(solve(**data), data, 1e-8)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e-4, 1e4])
@pytest.mark.parametrize("name", ["objective", "rows", "variables"])
def test_units_do_not_matter(name, size, dtype):
    problems = known(Form(6, 9, 2, rows="both", box="both"), 34, (9,))
    factors = {
        "objective": {"Q": size, "q": size},
        "rows": {"G": size, "h": size, "h_lower": size, "A": size, "b": size},
        "variables": {"Q": size**-2, "q": 1 / size, "G": 1 / size, "A": 1 / size}
        | {"lb": size, "ub": size},
    }[name]
    data = {k: (v * factors.get(k, 1.0)).astype(dtype) for k, v in problems.data.items()}
    assert_solved(solve(**data), data, {np.float64: 1e-8, np.float32: 1e-5}[dtype])


@pytest.mark.parametrize("form", SINGULAR[3:], ids=str)
def test_objective_of_linear_programs_equals_highs(form):
    problems = known(form, 35, (5,))
    found = solve(**problems.data).objective()
    for index, data, _, _ in problems:
        G, rows, limits = data.get("G", np.zeros((0, form.n))), [], []
        for sign, name in ((1, "h"), (-1, "h_lower")):
            if name in data:
                keep = np.isfinite(data[name])
                rows.append(sign * G[keep])
                limits.append(sign * data[name][keep])
        bounds = [
            *zip(*(np.broadcast_to(data.get(k, v), form.n) for k, v in BOX.items()), strict=True)
        ]
        inequalities = (np.vstack(rows), np.concatenate(limits)) if rows else (None, None)
        highs = linprog(data["q"], *inequalities, data.get("A"), data.get("b"), bounds)
        np.testing.assert_allclose(found[index], highs.fun, rtol=1e-7, atol=1e-7)


BOX = {"lb": -np.inf, "ub": np.inf}


@pytest.mark.parametrize("seed", range(3))
def test_objective_equals_slsqp(seed):
    data = paper(4, 6, 1, seed)
    Q, q = data["Q"], data["q"]
    rows = {"type": "ineq", "fun": lambda x: data["h"] - data["G"] @ x}
    equal = {"type": "eq", "fun": lambda x: data["A"] @ x - data["b"]}
    slsqp = minimize(
        lambda x: x @ Q @ x / 2 + q @ x,
        np.zeros(4),
        jac=lambda x: Q @ x + q,
        constraints=[rows, equal],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert slsqp.success
    np.testing.assert_allclose(solve(**data).objective(), slsqp.fun, rtol=1e-6, atol=1e-6)


def test_infinite_sides_may_differ_within_a_batch():
    limits = np.array([[1.0, np.inf], [np.inf, 1.0], [1e20, -1.0], [np.inf, 5e30]])
    data = {"Q": np.eye(2), "q": np.array([-2.0, -3.0]), "G": np.eye(2), "h": limits}
    solution = solve(**data, h_lower=-limits[:, ::-1])
    assert_solved(solution, data | {"h_lower": -limits[:, ::-1]}, 1e-8)
    np.testing.assert_allclose(solution.x, [[1, 3], [2, 1], [2, -1], [2, 3]], atol=1e-7)
    assert (solution.z[3] == 0).all(), "a row without sides has no multiplier"


def test_a_fixed_variable_takes_its_value_and_a_multiplier_of_either_sign():
    data = {"Q": np.eye(2), "q": np.array([[-1.0, 0], [1, 0]]), "lb": [0.0, -9], "ub": [0.0, 9]}
    solution = solve(**data)
    assert_solved(solution, data, 1e-8)
    np.testing.assert_allclose(solution.x, 0, atol=1e-7)
    np.testing.assert_allclose(solution.z_box, [[1, 0], [-1, 0]], atol=1e-7)


def test_the_multiplier_signs_of_the_contract():
    data = {"Q": np.eye(1), "q": [[-2.0], [2.0]], "G": np.eye(1), "h": [1.0], "h_lower": [-1.0]}
    np.testing.assert_allclose(solve(**data).z, [[1], [-1]], atol=1e-6)
    np.testing.assert_allclose(solve(data["Q"], [-2.0], A=np.eye(1), b=[0.0]).y, [2], atol=1e-6)
    box = solve(data["Q"], data["q"], lb=-1.0, ub=1.0)
    np.testing.assert_allclose(box.z_box, [[1], [-1]], atol=1e-6)


def test_only_the_symmetric_part_of_q_counts():
    problems = known(FORMS[-1], 36)
    skew = np.triu(np.ones((7, 7)), 1)
    data = problems.data | {"Q": problems.data["Q"] + skew - skew.T}
    solution = solve(**data)
    assert_optimal(data, Point(solution.x, solution.z, solution.y, solution.z_box), 1e-8)
    assert_answers(solution, problems, 1e-8)
