"""Gradients through the closest feasible problem, and how far they can be trusted."""

import numpy as np
import pytest
from clashing import CASES, CLOSEST, MATRICES_MOVE, TIGHT, answer_of, mixed
from oracle import one
from pullback import random_cotangent

from qpcore import GradientError, Settings, Untrusted, jvp, solve, solve_at_answer, vjp


def differences(data, names, cotangent, step=1e-5):
    """Central differences of <cotangent, answer>, moving the arguments of these names alike."""

    def value(move):
        s = solve(**data | {name: data[name] + move for name in names}, settings=TIGHT)
        assert s.closest
        return sum((c * getattr(s, k)).sum() for k, c in cotangent._asdict().items())

    base = data[names[0]]
    found = np.zeros_like(base)
    for index in np.ndindex(base.shape):
        if np.isfinite(base[index]):
            move = np.zeros_like(base)
            move[index] = step
            move = (move + move.T) / 2 if names == ("Q",) else move
            found[index] = (value(move) - value(-move)) / (2 * step)
    return found


def argument_cases():
    for name, data in CASES.items():
        names = [(k,) for k in data if k not in "GA" or name in MATRICES_MOVE]
        if name == "fixed_variables":  # limits of a fixed variable move together, or cross
            names = [("lb", "ub") if k == ("lb",) else k for k in names if k != ("ub",)]
        yield from ((name, k) for k in names)


@pytest.mark.parametrize(("name", "names"), list(argument_cases()))
def test_gradients_are_those_of_central_differences(name, names):
    data = CASES[name]
    solution = solve(**data, settings=TIGHT)
    cotangent = random_cotangent(answer_of(solution), 7)
    gradients = vjp(solution, *cotangent, wanted=names)
    found = sum(getattr(gradients, k) for k in names)
    expected = differences(data, names, cotangent)
    size = max(1, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * size)
    assert gradients.trust.trusted, gradients.trust


@pytest.mark.parametrize("turn", ["variables", "rows"])
def test_matrices_may_move_as_long_as_the_rank_stays(turn):
    """G and A times I + tK: rows that were parallel stay so. Rows times numbers: likewise."""
    data, rng, step = CASES["slabs_apart"], np.random.default_rng(15), 1e-5
    K, c = rng.standard_normal((4, 4)), {"G": rng.standard_normal((3, 1)), "A": np.ones((1, 1))}
    moves = {k: data[k] @ K if turn == "variables" else c[k] * data[k] for k in ("G", "A")}
    solution = solve(**data, settings=TIGHT)
    cotangent = random_cotangent(answer_of(solution), 16)
    gradients = vjp(solution, *cotangent)
    found = sum((getattr(gradients, k) * move).sum() for k, move in moves.items())

    def value(t):
        s = solve(**data | {k: data[k] + t * move for k, move in moves.items()}, settings=TIGHT)
        return sum((c * getattr(s, k)).sum() for k, c in cotangent._asdict().items())

    expected = (value(step) - value(-step)) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradients_of_a_batch_are_those_of_its_problems():
    data = mixed()
    solution = solve(**data, settings=CLOSEST)
    cotangent = random_cotangent(answer_of(solution), 12)
    whole = vjp(solution, *cotangent)
    singles = []
    for k in range(5):
        alone = solve(**one(data, (k,)), settings=CLOSEST)
        singles.append(vjp(alone, *(part[k] for part in cotangent)))
        assert singles[-1].trust.trusted == whole.trust.trusted[k]
    for name in data:
        parts = np.stack([getattr(g, name) for g in singles])
        expected = parts.sum(axis=0) if name in ("Q", "G") else parts
        size = max(1, np.abs(parts).max())
        found = getattr(whole, name)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * size, err_msg=name)


def test_a_row_that_gives_way_by_nothing_is_flagged():
    """x <= 0 and x >= 1 meet at 0.5, and so does a third row, without a shift."""
    data = {"Q": np.eye(2), "q": np.ones(2), "G": [[1.0, 0], [-1, 0], [1, 0]], "h": [0.0, -1, 0.5]}
    gradients = vjp(solve(**data, settings=CLOSEST), dx=np.ones(2), wanted=["h"])
    assert gradients.trust.margin < 1e-4
    assert not gradients.trust.trusted


@pytest.mark.parametrize(
    "name", ["rows_that_fix_x", "equations_that_clash", "slabs_apart", "row_against_bounds"]
)
def test_trust_says_whether_matrices_may_move(name):
    solution = solve(**CASES[name], settings=CLOSEST)
    dx = np.ones_like(solution.x)
    matrix = "A" if name == "equations_that_clash" else "G"
    assert vjp(solution, dx=dx, wanted=[matrix]).trust.trusted == (name in MATRICES_MOVE)
    assert vjp(solution, dx=dx, wanted=["q"]).trust.trusted


def test_rows_that_clash_meet_far_away_once_turned():
    """What the flag of the test before stands for: the answer is not continuous there."""
    data = CASES["slabs_apart"]
    G = data["G"].copy()
    G[0, 3] += 1e-4
    turned = solve(**data | {"G": G})
    assert np.abs(turned.x).max() > 100


@pytest.mark.parametrize("policy", [Untrusted.ZERO, Untrusted.NAN, Untrusted.RAISE])
def test_policies_reach_closest_problems(policy):
    settings = Settings(infeasible="closest", untrusted=policy)
    solution = solve(**CASES["slabs_apart"], settings=settings)
    dx = np.ones_like(solution.x)
    trusted = vjp(solution, dx=dx, wanted=["q", "h", "b"])
    expected = vjp(solve(**CASES["slabs_apart"], settings=CLOSEST), dx=dx)
    for name in ("q", "h", "b"):
        np.testing.assert_array_equal(getattr(trusted, name), getattr(expected, name))
    if policy is Untrusted.RAISE:
        with pytest.raises(GradientError):
            vjp(solution, dx=dx)
        return
    value = 0.0 if policy is Untrusted.ZERO else np.nan
    gradients = vjp(solution, dx=dx)
    for name in ("Q", "q", "G", "A", "b"):
        gradient = getattr(gradients, name)
        np.testing.assert_array_equal(gradient, np.full_like(gradient, value), err_msg=name)


def test_zero_cotangents_give_zero_gradients():
    solution = solve(**mixed(), settings=CLOSEST)
    dx = np.zeros_like(solution.x)
    dx[0] = 1
    gradients = vjp(solution, dx=dx)
    assert not gradients.h[1:].any()
    assert not gradients.lb[1:].any()
    assert np.isfinite(gradients.G).all()


def test_forward_mode_is_refused():
    solution = solve(**CASES["slabs_apart"], settings=CLOSEST)
    with pytest.raises(NotImplementedError, match="vjp"):
        jvp(solution, q=np.ones(4))
    with pytest.raises(NotImplementedError, match="vjp"):
        solve_at_answer(solution, rx=np.ones(4))
