"""Where there is no derivative: it is noticed, and each policy does what it says."""

import warnings

import barrier
import numpy as np
import pytest
from checks import fields
from oracle import Point, pull_back
from problems import Form
from pullback import drawn, pulled, random_cotangent
from test_vjp_special import DEGENERATE

from qpcore import GradientError, Settings, SettingsError, Untrusted, jvp, solve, vjp

# One feasible point is a matter of equalities, which have no choice: its derivative exists.
WITHOUT_DERIVATIVE = {k: v for k, v in DEGENERATE.items() if k != "one feasible point"} | {
    "vertex of a linear program with a weak side": {
        "Q": np.zeros((2, 2)), "q": [-1.0, 0.0], "ub": [1.0, 1], "lb": [0.0, 0],
    },
    "vertex of a linear program with three sides": {
        "Q": np.zeros((2, 2)), "q": [-1.0, -1], "ub": 1.0, "lb": 0.0,
        "G": [[1.0, 1]], "h": [2.0],
    },
    "weak lower limit": {
        "Q": np.eye(2), "q": [0.0, 1], "G": [[1.0, 0]], "h_lower": [0.0], "h": [3.0],
    },
    "cone at its tip": {"Q": np.eye(2), "q": [0.0, 0], "lb": 0.0},
}  # fmt: skip

# A point inside each of these, where the barrier begins.
INSIDE = {
    "weakly active row": [0.0, 0],
    "weakly active everywhere": [0.0, 0, 0],
    "repeated rows": [0.0, 0],
    "too many rows at a vertex": [0.0, 0],
    "face of a linear program": [0.25, 0.25],
    "segment of minimisers": [0.4, 0.5],
    "vertex of a linear program with a weak side": [0.5, 0.5],
    "vertex of a linear program with three sides": [0.5, 0.5],
    "weak lower limit": [1.0, 0],
    "cone at its tip": [1.0, 1],
}
BOTH_SIDES = {
    "Q": np.eye(3), "q": [0.5, -0.3, 0.1], "G": [[1.0, 0, 0], [0, 1, 1]], "h": [1.0, 0.4],
    "h_lower": [-0.5, -0.6], "A": [[1.0, 1, 1]], "b": [0.0], "lb": [-0.7, -0.7, -0.9], "ub": 0.8,
}  # fmt: skip
"""Degenerate in its first row: x = (-0.5, ...) would be reached without it."""


def arrays(data, dtype=np.float64):
    return {name: np.asarray(value, dtype) for name, value in data.items()}


def ones_like(solution):
    return [np.ones_like(getattr(solution, name)) for name in Point._fields]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("data", WITHOUT_DERIVATIVE.values(), ids=WITHOUT_DERIVATIVE)
def test_the_margin_flags_every_point_without_derivative(data, dtype):
    solution = solve(**arrays(data, dtype))
    trust = vjp(solution, dx=np.ones_like(solution.x)).trust
    assert trust.margin <= np.sqrt(solution.settings.tolerance(dtype))
    assert not trust.trusted


@pytest.mark.parametrize("form", [Form(1), Form(6, 9, 2, rows="both", box="both"), Form(5, p=2)])
def test_the_margin_flags_no_clear_point(form):
    problems = drawn(form, 250, (20,))
    trust = vjp(solve(**problems.data), *random_cotangent(problems.answer)).trust
    assert trust.trusted.all()
    assert (trust.margin >= 1e-3).all()
    assert (trust.residual <= 1e-10).all()


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_margin_has_no_units(factor):
    """Rows, the cost and the variables in other units: the same margin, up to equilibration."""
    data = drawn(Form(6, 9, 2, rows="both"), 251).data
    base = vjp(solve(**data), dx=np.ones(6)).trust.margin
    rows = {k: factor * data[k] for k in ("G", "h", "h_lower")}
    cost = {k: factor * data[k] for k in ("Q", "q")}
    for changed in (rows, cost):
        margin = vjp(solve(**data | changed), dx=np.ones(6)).trust.margin
        assert 0.1 * base <= margin <= 10 * base


def test_failed_problems_are_not_trusted():
    solution = solve(np.eye(2), np.ones((2, 2)), lb=[[0.0, 0], [2, 2]], ub=1.0, throw=False)
    for trust in (vjp(solution, dx=np.ones((2, 2))).trust, jvp(solution, q=1.0 + np.eye(2)).trust):
        assert np.isnan(trust.margin[1])
        assert not trust.trusted[1]


# ---- policies ------------------------------------------------------------------------------------


def degenerate_beside_clear(policy, **settings):
    """A problem with a derivative, and the same with a weakly active row."""
    q = np.array([[-2.0, 0.5], [-1.0, 0.5]])
    settings = Settings(untrusted=policy, **settings)
    return solve(np.eye(2), q, np.eye(2), [1.0, 5.0], settings=settings)


def test_leave_gives_one_of_many():
    gradients = vjp(degenerate_beside_clear(Untrusted.LEAVE), dx=np.ones((2, 2)))
    assert gradients.trust.trusted.tolist() == [True, False]
    assert np.isfinite(gradients.q).all()
    assert -1 <= gradients.q[1, 0] <= 0


@pytest.mark.parametrize(("policy", "value"), [(Untrusted.ZERO, 0.0), (Untrusted.NAN, np.nan)])
def test_zero_and_nan_stay_with_their_problem(policy, value):
    plain, solution = degenerate_beside_clear(Untrusted.LEAVE), degenerate_beside_clear(policy)
    gradients, expected = (vjp(s, *ones_like(s)) for s in (solution, plain))
    for name, gradient in fields(gradients).items():
        if name == "q":
            np.testing.assert_array_equal(gradient[1], np.full_like(gradient[1], value))
            np.testing.assert_array_equal(gradient[0], getattr(expected, name)[0])
    tangents = jvp(solution, q=np.ones((2, 2)))
    np.testing.assert_array_equal(tangents.x[1], [value, value])
    np.testing.assert_allclose(tangents.x[0], [0, -1], atol=1e-9)


def test_nan_leaves_problems_without_cotangent_alone():
    cotangent = np.array([[1.0, 1.0], [0.0, 0.0]])
    gradients = vjp(degenerate_beside_clear(Untrusted.NAN), dx=cotangent)
    assert np.isfinite(gradients.G).all()


def test_raise_names_the_problems_and_the_margin():
    solution = degenerate_beside_clear(Untrusted.RAISE)
    for attempt in (lambda: vjp(solution, dx=np.ones((2, 2))), lambda: jvp(solution, q=np.ones(2))):
        with pytest.raises(GradientError, match=r"index \(1,\).*margin") as caught:
            attempt()
        assert caught.value.trust.trusted.tolist() == [True, False]
    vjp(solution, dx=np.array([[1.0, 1.0], [0.0, 0.0]]))  # nobody asked for that derivative


@pytest.mark.parametrize("mu", [1e-1, 1e-3])
@pytest.mark.parametrize("name", [*INSIDE, "both sides"])
def test_smooth_is_the_derivative_of_the_relaxed_problem(name, mu):
    data = arrays(BOTH_SIDES if name == "both sides" else WITHOUT_DERIVATIVE[name])
    inside = INSIDE.get(name, [0.0, 0, 0])
    policy = Settings(untrusted=Untrusted.SMOOTH, smoothing=mu)
    solution = solve(**data, settings=policy)
    cotangent = random_cotangent(
        Point(*(getattr(solution, output) for output in Point._fields)), 252
    )
    gradients = pulled(solution, cotangent)
    assert not gradients.trust.trusted
    moved = {}
    for argument in data:
        jacobian = barrier.differences(data, inside, mu, argument)
        expected = pull_back(jacobian, cotangent)
        expected = (expected + expected.T) / 2 if argument == "Q" else expected
        found = getattr(gradients, argument)
        size = max(1.0, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * size, err_msg=argument)
        moved[argument] = np.random.default_rng(253).standard_normal(found.shape)
    tangents = jvp(solution, **moved)
    ahead = sum((c * getattr(tangents, k)).sum() for k, c in cotangent._asdict().items())
    back = sum((t * getattr(gradients, k)).sum() for k, t in moved.items())
    np.testing.assert_allclose(ahead, back, rtol=1e-9)


def test_smooth_keeps_clear_problems_exact():
    plain = degenerate_beside_clear(Untrusted.LEAVE)
    solution = degenerate_beside_clear(Untrusted.SMOOTH, smoothing=1e-2)
    cotangent = np.ones((2, 2))
    found, expected = vjp(solution, dx=cotangent).q, vjp(plain, dx=cotangent).q
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1, 0], -0.5, atol=1e-9)  # halfway between its two sides


def test_smooth_is_nan_where_nothing_lies_inside():
    data = arrays(DEGENERATE["row of zeros"])
    solution = solve(**data, settings=Settings(untrusted=Untrusted.SMOOTH))
    assert np.isnan(vjp(solution, dx=np.ones(2)).q).all()


@pytest.mark.parametrize("policy", Untrusted)
@pytest.mark.parametrize("data", WITHOUT_DERIVATIVE.values(), ids=WITHOUT_DERIVATIVE)
def test_no_policy_warns(data, policy):
    solution = solve(**arrays(data), settings=Settings(untrusted=policy))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if policy is Untrusted.RAISE:
            with pytest.raises(GradientError):
                vjp(solution, *ones_like(solution))
        else:
            vjp(solution, *ones_like(solution))


@pytest.mark.parametrize("bad", ["zero", 1, None])
def test_a_policy_is_no_string(bad):
    with pytest.raises(SettingsError, match="untrusted"):
        Settings(untrusted=bad)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, "1"])
def test_smoothing_is_a_positive_number(bad):
    with pytest.raises(SettingsError, match="smoothing"):
        Settings(smoothing=bad)
