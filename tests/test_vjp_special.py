"""Gradients where there is none, more than one, or no cotangent."""

import numpy as np
import pytest
from cases import FAILURES, OPEN, beside, failing
from oracle import Point
from problems import Form, known
from pullback import COTANGENTS, TIGHT, assert_close, at, drawn, pulled, random_cotangent

from qpcore import ProblemError, Settings, solve, vjp


@pytest.mark.parametrize("shift", [-3.0, 3.0])
def test_gradient_of_a_fixed_variable_goes_to_the_side_of_its_multiplier(shift):
    data = {"Q": np.eye(2), "q": np.array([shift, 0.5]), "lb": [1.0, -9], "ub": [1.0, 9]}
    solution = solve(**data)
    gradients = vjp(solution, dx=[1.0, 1.0])
    ours, other = (gradients.ub, gradients.lb)[:: 1 if solution.z_box[0] >= 0 else -1]
    assert np.sign(solution.z_box[0]) == -np.sign(shift + 1)
    np.testing.assert_allclose(ours, [1, 0], atol=1e-6)
    np.testing.assert_allclose(other, [0, 0], atol=1e-6)


def test_no_cotangents_give_zero_gradients():
    solution = solve(**known(OPEN, 116, (5,)).data)
    gradients = vjp(solution)
    for name in solution.problem.given_shapes:
        gradient = getattr(gradients, name)
        assert gradient.shape == solution.problem.given_shapes[name]
        assert (gradient == 0).all()


@pytest.mark.parametrize("name", COTANGENTS.values())
@pytest.mark.parametrize("change", [(1, 0), (0, 1)], ids=["batch", "core"])
def test_a_cotangent_of_the_wrong_shape_is_named(name, change):
    solution = solve(**known(Form(6, 9, 2, rows="both", box="both"), 117, (5,)).data)
    sizes = {"dx": 6, "dz": 9, "dy": 2, "dz_box": 6}
    wrong = np.ones((5 + change[0], sizes[name] + change[1]))
    with pytest.raises(ProblemError, match=rf"\b{name}\b"):
        vjp(solution, **{name: wrong})


@pytest.mark.parametrize("status", FAILURES)
def test_failed_problems(status):
    good = known(OPEN, 118, (9,)).data
    data, ours = beside(good, [failing(status, OPEN, 119), failing(status, OPEN, 120)], [2, 9])
    solution, alone = solve(**data, throw=False), solve(**good)
    assert not solution.solved[[2, 10]].any()
    cotangent = random_cotangent(Point(solution.x, solution.z, solution.y, solution.z_box))
    for part in cotangent:
        part[10] = 0
    gradients = pulled(solution, cotangent)
    expected = pulled(alone, at(cotangent, ours))
    for name in data:
        gradient = getattr(gradients, name)
        assert np.isnan(gradient[2]).all(), f"d{name} of a failed problem should be NaN"
        assert (gradient[10] == 0).all(), f"d{name} without cotangent should be zero"
        np.testing.assert_array_equal(gradient[ours], getattr(expected, name))


def test_a_failed_problem_without_cotangent_leaves_shared_gradients_alone():
    problems = known(Form(5, 6, box="both"), 121, (4,), ("Q", "G"))
    data = problems.data | {"q": problems.data["q"].copy()}
    data["q"][1] = np.nan
    solution = solve(**data, throw=False)
    cotangent = random_cotangent(problems.answer)
    cotangent.x[1] = cotangent.z[1] = cotangent.z_box[1] = 0
    found = pulled(solution, cotangent)
    expected = pulled(solve(**problems.data), cotangent)
    for name in ("Q", "G"):
        assert_close(getattr(found, name), getattr(expected, name), name)
    cotangent.x[1] = 1
    assert np.isnan(pulled(solution, cotangent).Q).all()


def test_unfinished_problems_have_finite_gradients():
    data = known(OPEN, 122, (9,)).data
    solution = solve(**data, settings=Settings(max_iterations=3), throw=False)
    gradients = vjp(solution, dx=np.ones_like(solution.x))
    assert all(np.isfinite(getattr(gradients, name)).all() for name in data)


DEGENERATE = {
    "weakly active row": {"Q": np.eye(2), "q": [-1.0, -2], "G": np.eye(2), "h": [1.0, 5]},
    "weakly active everywhere": {
        "Q": np.eye(3), "q": [-1.0, -1, -1], "G": np.vstack([np.eye(3), np.ones((1, 3))]),
        "h": [1.0, 1, 1, 3],
    },
    "repeated rows": {"Q": np.eye(2), "q": [-2.0, -2], "G": np.ones((5, 2)), "h": np.ones(5)},
    "dependent equalities": {
        "Q": np.eye(3), "q": [1.0, 0, -1], "A": np.ones((2, 3)), "b": [3.0, 3],
    },
    "too many rows at a vertex": {
        "Q": np.eye(2), "q": [-3.0, -3], "G": [[1.0, 0], [0, 1], [1, 1]], "h": [1.0, 1, 2],
    },
    "row of zeros": {"Q": np.eye(2), "q": [-3.0, 0], "G": [[0.0, 0], [1, 0]], "h": [0.0, 1]},
    "one feasible point": {"Q": np.eye(2), "q": [3.0, 3], "G": np.eye(2), "h": 1.0, "h_lower": 1.0},
    "face of a linear program": {
        "Q": np.zeros((2, 2)), "q": [-1.0, -1], "G": [[1.0, 1]], "h": [1.0], "lb": 0.0,
    },
    "segment of minimisers": {"Q": np.ones((2, 2)), "q": [-1.0, -1], "lb": 0.0, "ub": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("data", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_points_have_finite_gradients(data, dtype):
    data = {name: np.asarray(value, dtype) for name, value in data.items()}
    solution = solve(**data)
    gradients = vjp(
        solution, *(np.ones_like(getattr(solution, output)) for output in Point._fields)
    )
    for name in data:
        assert np.isfinite(getattr(gradients, name)).all(), f"d{name} is not finite"


@pytest.mark.parametrize("name", ["G", "A"])
def test_repeated_rows_do_not_change_the_gradient_of_x_by_q(name):
    """Multipliers are not unique then, but x and its derivative by Q and q are."""
    problems = drawn(Form(6, 9, 2), 123, (9,))
    data, limit = problems.data, {"G": "h", "A": "b"}[name]
    repeated = {k: np.concatenate([data[k], data[k]], 1) for k in (name, limit)}
    cotangent = random_cotangent(problems.answer)
    expected = pulled(solve(**data, settings=TIGHT), cotangent, ["x"])
    found = pulled(solve(**data | repeated, settings=TIGHT), cotangent, ["x"])
    for argument in ("Q", "q"):
        assert_close(getattr(found, argument), getattr(expected, argument), argument)
    rows = getattr(found, limit)
    total = rows[:, : rows.shape[1] // 2] + rows[:, rows.shape[1] // 2 :]
    assert_close(total, getattr(expected, limit), limit)
