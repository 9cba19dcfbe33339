"""The KKT system at the answer, on which vjp and jvp stand, against dense linear algebra."""

import numpy as np
import pytest
from cases import FORMS, OPEN, SINGULAR, beside, failing
from oracle import Point, active_system
from problems import Form, known
from pullback import TIGHT, assert_close, at, drawn, random_cotangent

from qpcore import ProblemError, solve, solve_at_answer


def dense(data, active, right):
    """-M⁻¹ right, with rows that do not bind left out; their multipliers do not move."""
    K, _ = active_system(data, active)
    rows, box = active.rows != 0, active.box != 0
    r = np.concatenate([right.x, right.z[rows], right.y, right.z_box[box]])
    cuts = np.cumsum([len(right.x), rows.sum(), len(right.y)])
    x, z_active, y, box_active = np.split(-np.linalg.solve(K, r), cuts)
    z, z_box = np.zeros(len(rows)), np.zeros(len(box))
    z[rows], z_box[box] = z_active, box_active
    return Point(x, z, y, z_box)


@pytest.mark.parametrize("form", [*FORMS, *SINGULAR], ids=str)
def test_it_is_the_solution_of_the_dense_system(form):
    problems = drawn(form, 210, (2, 3))
    right = random_cotangent(problems.answer, 211)
    found = solve_at_answer(solve(**problems.data, settings=TIGHT), *right)
    for index, data, _, active in problems:
        expected = dense(data, active, at(right, index))
        for name, part, exact in zip(Point._fields, at(found, index), expected, strict=True):
            assert_close(part, exact, f"{name} of problem {index}")


@pytest.mark.parametrize("form", [FORMS[-1], SINGULAR[-1]], ids=str)
def test_it_is_its_own_transpose(form):
    problems = drawn(form, 212, (5,))
    solution = solve(**problems.data, settings=TIGHT)
    r, w = (random_cotangent(problems.answer, seed) for seed in (213, 214))
    one_way = inner(w, solve_at_answer(solution, *r))
    other_way = inner(r, solve_at_answer(solution, *w))
    np.testing.assert_allclose(one_way, other_way, rtol=1e-11, atol=1e-11)


def inner(a, b):
    return sum((u * v).sum(axis=-1) for u, v in zip(a, b, strict=True))


def test_none_is_zero():
    problems = drawn(FORMS[-1], 215, (3,))
    solution = solve(**problems.data)
    dx = np.ones_like(solution.x)
    zeros = [np.zeros_like(getattr(solution, name)) for name in ("z", "y", "z_box")]
    for one, other in zip(
        solve_at_answer(solution, dx), solve_at_answer(solution, dx, *zeros), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert all((part == 0).all() for part in solve_at_answer(solution))


def test_failed_problems_are_zero_or_nan():
    good = known(OPEN, 216, (9,)).data
    bad = [failing("PRIMAL_INFEASIBLE", OPEN, 217), failing("NOT_CONVEX", OPEN, 218)]
    data, ours = beside(good, bad, [2, 9])
    solution = solve(**data, throw=False)
    rx = np.ones_like(solution.x)
    rx[10] = 0
    found, alone = solve_at_answer(solution, rx), solve_at_answer(solve(**good), rx[ours])
    for part, expected in zip(found, alone, strict=True):
        assert np.isnan(part[2]).all()
        assert (part[10] == 0).all()
        np.testing.assert_array_equal(part[ours], expected)


@pytest.mark.parametrize("name", ["rx", "rz", "ry", "rz_box"])
def test_a_right_hand_side_of_the_wrong_shape_is_named(name):
    solution = solve(**known(Form(6, 9, 2, rows="both", box="both"), 219, (5,)).data)
    with pytest.raises(ProblemError, match=rf"\b{name}\b"):
        solve_at_answer(solution, **{name: np.ones((5, 1))})
