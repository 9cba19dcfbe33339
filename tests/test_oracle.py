"""The judge is judged: generators, oracle and checks agree with each other."""

import cases
import numpy as np
import pytest
from checks import assert_optimal, residuals
from failures import infeasible, nonconvex, unbounded
from oracle import (
    CORE,
    Point,
    adjoint,
    differences,
    exact_solution,
    full,
    interior_point,
    pull_back,
    sensitivity,
)
from problems import (
    MARGIN,
    SENSITIVITY,
    Form,
    known,
    neighbours,
    paper,
)
from scipy.optimize import linprog

FORMS = [*cases.FORMS, *cases.SINGULAR, Form(8, 20, 2, rows="both", box="both", condition=1e4)]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_known_answers_satisfy_the_kkt_conditions(form):
    for _, data, answer, _ in known(form, 1, (4,)):
        assert_optimal(data, answer, 1e-14)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_known_answers_are_strictly_complementary_and_well_posed(form):
    for _, data, (x, z, _, z_box), active in known(form, 2, (4,)):
        d = full(data)
        for value, multiplier, side, upper, lower in (
            (d["G"] @ x, z, active.rows, d["h"], d["h_lower"]),
            (x, z_box, active.box, d["ub"], d["lb"]),
        ):
            assert (np.sign(multiplier) == side).all()
            assert (np.abs(multiplier[side != 0]) >= MARGIN).all()
            slack = np.minimum(upper - value, value - lower)
            assert (slack[side == 0] >= MARGIN * (1 - 1e-9)).all()
            limit = np.where(side > 0, upper, lower)[side != 0]
            np.testing.assert_allclose(value[side != 0], limit, rtol=1e-15)
        assert sensitivity(data, active) <= SENSITIVITY * form.condition


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_exact_solution_finds_the_known_answer(form):
    for _, data, answer, active in known(form, 3, (4,)):
        bound = 1e-15 * sensitivity(data, active) * (1 + residuals(data, answer).dual_scale)
        for found, expected in zip(exact_solution(data, active), answer, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=100 * bound)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_interior_point_finds_the_known_answer(form):
    for _, data, answer, active in known(form, 4, (4,)):
        bound = 1e-9 * max(1, sensitivity(data, active))
        for found, expected in zip(interior_point(data), answer, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_adjoint_equals_central_differences(form):
    rng = np.random.default_rng(5)
    for _, data, answer, active in known(form, 5, (2,)):
        cotangent = Point(*(rng.standard_normal(part.shape) for part in answer))
        gradients = adjoint(data, answer, active, cotangent)
        for name in data:
            expected = pull_back(differences(data, active, name), cotangent)
            atol = 1e-7 * max(1, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=atol)


BLOCKED = [form for form in FORMS if form.m or form.p > 1]
OPEN = [
    Form(3),
    Form(5, 8, 2),
    Form(5, 8, rows="mixed", box="mixed", fixed=1),
    Form(6, 9, 1, rows="both"),
    Form(6, 9, rank=0),
]


@pytest.mark.parametrize("form", BLOCKED, ids=str)
def test_infeasible_problems_have_no_feasible_point(form):
    assert violation(infeasible(form, 7)) > 1e-3
    assert violation(known(form, 7).data) < 1e-9


@pytest.mark.parametrize("form", OPEN, ids=str)
def test_unbounded_problems_are_convex_and_fall_along_a_feasible_ray(form):
    data = unbounded(form, 8)
    assert violation(data) < 1e-9
    assert np.linalg.eigvalsh(data["Q"]).min() > -1e-12
    assert steepest_ray(data) < -1e-2
    assert steepest_ray(known(form, 8).data) > -1e-9


@pytest.mark.parametrize("form", [form for form in OPEN if form.m and form.p], ids=str)
def test_rays_are_exact_in_float32_too(form):
    """Matrices keep their bits: what blocks or frees a problem does not drown in rounding."""
    for data, names in ((infeasible(form, 9), "GA"), (unbounded(form, 9), "QqGA")):
        for name in names:
            np.testing.assert_array_equal(data[name], data[name].astype(np.float32))


def violation(data):
    """Smallest violation of the rows (in the max-norm) within the bounds."""
    d = full(data)
    n = len(d["q"])
    rows = np.vstack([d["G"], -d["G"], d["A"], -d["A"], np.zeros((1, n))])
    limits = np.concatenate([d["h"], -d["h_lower"], d["b"], -d["b"], [0]])
    keep = np.isfinite(limits)
    bounds = [*zip(d["lb"], d["ub"], strict=True), (0, None)]
    slack = np.hstack([rows, -np.ones((len(rows), 1))])
    return linprog(np.eye(n + 1)[n], slack[keep], limits[keep], bounds=bounds).fun


def steepest_ray(data):
    """Smallest cost among the rays of the feasible set, of max-norm at most 1, with Qx = 0."""
    d = full(data)
    upper, lower = np.isfinite(d["h"]), np.isfinite(d["h_lower"])
    rows = np.vstack([d["G"][upper], -d["G"][lower], np.zeros((1, len(d["q"])))])
    equal = np.vstack([d["Q"], d["A"]])
    bounds = [*zip(-1.0 * np.isinf(d["lb"]), 1.0 * np.isinf(d["ub"]), strict=True)]
    return linprog(d["q"], rows, np.zeros(len(rows)), equal, np.zeros(len(equal)), bounds).fun


def test_nonconvex_problems_have_a_negative_eigenvalue():
    data = nonconvex(Form(4, 3, box="both"), 9)
    np.testing.assert_allclose(np.linalg.eigvalsh(data["Q"])[0], -1)


@pytest.mark.parametrize("shape", [(10, 10, 0), (8, 5, 3)], ids=str)
def test_interior_point_solves_the_paper_profile(shape):
    for seed in range(3):
        data = paper(*shape, seed)
        assert_optimal(data, interior_point(data), 1e-10)


@pytest.mark.parametrize("name", CORE)
def test_neighbours_keep_the_active_sides(name):
    form = Form(6, 9, 2, rows="both", box="both", rank=4)
    for _, data, answer, _ in neighbours(known(form, 10), name, 3):
        assert_optimal(data, answer, 1e-14)
