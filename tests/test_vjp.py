"""Gradients against central differences of exact answers, in every form."""

from functools import cache

import numpy as np
import pytest
from cases import FAILURES, FORMS, OPEN, SINGULAR, beside, failing
from oracle import CORE, Point, adjoint, batch_shape, differences, pull_back
from problems import Form, Known, known, neighbours

from qpcore import ProblemError, Settings, solve, vjp

# An answer that is off by r changes its gradient by about sensitivity * r, up to 300 here: to see a
# relative error of 1e-6 in the gradient, the answer must be better than the default 1e-8.
TIGHT = Settings(tol=1e-10)
RTOL = 1e-6
COTANGENTS = {"x": "dx", "z": "dz", "y": "dy", "z_box": "dz_box"}
FULL = Form(6, 9, 2, rows="both", box="both")


def random_cotangent(answer, seed=0):
    """Cotangent for every output, shaped like the outputs."""
    rng = np.random.default_rng(seed)
    return Point(*(rng.standard_normal(part.shape) for part in answer))


def pulled(solution, cotangent, outputs=Point._fields):
    """Gradients of qpcore for some of the outputs, the others' cotangents being None."""
    return vjp(solution, **{COTANGENTS[name]: getattr(cotangent, name) for name in outputs})


def assert_close(found, expected, name, rtol=RTOL):
    """Largest error, relative to the largest entry; an expected zero is met absolutely."""
    assert found.shape == expected.shape, f"d{name} has shape {found.shape}"
    error = np.abs(found - expected).max(initial=0)
    bound = rtol * max(np.abs(expected).max(initial=0), 1e-2)
    assert error <= bound, f"d{name} off by {error:.1e} > {bound:.1e}"


@cache
def measured(form):
    """Three problems, their solution, the central differences by every argument of each."""
    problems = known(form, 110, (3,))
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
    np.testing.assert_array_equal(gradients.Q, np.swapaxes(gradients.Q, -1, -2))


@pytest.mark.parametrize("form", [FORMS[4], FULL, OPEN, SINGULAR[1]], ids=str)
def test_float32(form):
    """Rounding of the data, 6e-8, times the sensitivity, up to 300, and some for the solve."""
    problems = known(form, 111, (9,)).astype(np.float32)
    solution = solve(**problems.data)
    cotangent = random_cotangent(problems.answer)
    gradients = pulled(solution, Point(*(part.astype(np.float32) for part in cotangent)))
    for name, expected in oracle_gradients(problems, cotangent).items():
        assert getattr(gradients, name).dtype == np.float32
        assert_close(getattr(gradients, name), expected, name, rtol=1e-2)


def oracle_gradients(problems, cotangent):
    """Gradients by the oracle's adjoint, summed over the axes along which arguments are shared."""
    batch = batch_shape(problems.data)
    each = {k: np.zeros(batch + np.shape(v)[-CORE[k] :]) for k, v in problems.data.items()}
    for index, data, answer, active in problems:
        for name, gradient in adjoint(data, answer, active, at(cotangent, index)).items():
            if name in each:
                each[name][index] = gradient
    return {name: summed(value, np.shape(problems.data[name])) for name, value in each.items()}


def at(point, index):
    return Point(*(part[index] for part in point))


def summed(value, shape):
    """Sum over the axes that broadcasting from ``shape`` added or widened."""
    value = value.sum(axis=tuple(range(value.ndim - len(shape))))
    widened = tuple(i for i, size in enumerate(shape) if size == 1 and value.shape[i] != 1)
    return value.sum(axis=widened, keepdims=True)


@pytest.mark.parametrize("form", [FULL, SINGULAR[0]], ids=str)
@pytest.mark.parametrize("name", CORE)
def test_gradient_of_shared_arguments_is_the_sum_over_the_batch(form, name):
    problem = known(form, 112)
    if name not in problem.data:
        pytest.skip(f"the form {form} has no {name}")
    problems = neighbours(problem, name, 11)
    cotangent = random_cotangent(problems.answer)
    gradients = pulled(solve(**problems.data, settings=TIGHT), cotangent)
    for argument, expected in oracle_gradients(problems, cotangent).items():
        assert_close(getattr(gradients, argument), expected, argument)


def test_batch_axes_that_broadcast():
    problem = known(FULL, 113)
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
    problem = known(FULL, 115)
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
    solution = solve(**known(FULL, 117, (5,)).data)
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
    problems = known(Form(6, 9, 2), 123, (9,))
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
