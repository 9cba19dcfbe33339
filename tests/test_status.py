"""Every outcome: its status, what the variables hold then, what the error says."""

import numpy as np
import pytest
from cases import FAILURES, OPEN, beside, failing
from checks import assert_certificate, assert_solved
from problems import Form, known

from qpcore import QPError, Settings, SolveError, Status, solve

OUTPUTS = ("x", "z", "y", "z_box")
EYE = np.eye(2)
BLOCKED = [
    OPEN,
    Form(1, 2),
    Form(5, 8),
    Form(5, 8, rows="lower", box="both"),
    Form(4, p=3),
    Form(4, p=2, box="both"),
    Form(6, 9, 2, rows="both", box="mixed", fixed=1),
    Form(6, 9, 2, rows="both", box="both", rank=0),
]
FREE = [
    OPEN,
    Form(1),
    Form(5),
    Form(5, 8),
    Form(5, 8, rows="lower"),
    Form(5, p=2),
    Form(6, 9, 2, rows="both"),
    Form(6, 9, 2, rows="mixed", box="mixed", fixed=1, rank=3),
    Form(6, 9, rank=0),
]


def assert_status(solution, status, index=()):
    found = Status(int(solution.status[index]))
    assert found is status, f"{found.name} after {solution.iterations[index]} iterations"


def assert_nan(solution, names=OUTPUTS, index=...):
    for name in names:
        assert np.isnan(getattr(solution, name)[index]).all(), f"{name} should be NaN"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("form", BLOCKED, ids=str)
def test_primal_infeasible_comes_with_a_farkas_ray(form, seed):
    data = failing("PRIMAL_INFEASIBLE", form, 70 + seed)
    solution = solve(**data, throw=False)
    assert_status(solution, Status.PRIMAL_INFEASIBLE)
    assert_certificate(data, solution, ())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("form", FREE, ids=str)
def test_dual_infeasible_comes_with_a_ray(form, seed):
    data = failing("DUAL_INFEASIBLE", form, 80 + seed)
    solution = solve(**data, throw=False)
    assert_status(solution, Status.DUAL_INFEASIBLE)
    assert_certificate(data, solution, ())


@pytest.mark.parametrize("status", FAILURES[:2])
def test_certificates_in_float32(status):
    for seed in range(10):
        data = failing(status, OPEN, 90 + seed)
        data = {name: value.astype(np.float32) for name, value in data.items()}
        solution = solve(**data, throw=False)
        assert_status(solution, Status[status])
        assert_certificate(data, solution, (), tol=1e-3)


INFEASIBLE = {
    "row of zeros": {"G": [[0.0, 0], [1, 0]], "h": [-1.0, 1]},
    "equality of zeros": {"A": [[0.0, 0], [1, 1]], "b": [1.0, 1]},
    "parallel equalities": {"A": [[1.0, 1], [1, 1]], "b": [1.0, 1.001]},
    "equality against the box": {"A": [[1.0, 1]], "b": [10.0], "lb": 0.0, "ub": 1.0},
    "opposite rows": {"G": [[1.0, 0], [-1, 0]], "h": [1.0, -1.0001]},
    "bound against a fixed variable": {
        "G": [[-1.0, 0]], "h": [-2.0], "lb": [1.0, -np.inf], "ub": [1.0, np.inf],
    },
}  # fmt: skip


@pytest.mark.parametrize("rows", INFEASIBLE.values(), ids=INFEASIBLE)
def test_primal_infeasible(rows):
    data = {"Q": EYE, "q": [0.0, 0.0]} | rows
    solution = solve(**data, throw=False)
    assert_status(solution, Status.PRIMAL_INFEASIBLE)
    assert_certificate(data, solution, ())


@pytest.mark.parametrize("gap", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("block", ["bounds", "rows"])
def test_crossed_sides_are_primal_infeasible(block, gap):
    """A status only: one multiplier per row cannot hold the proof, which weighs both its sides."""
    lower, upper = [gap, 0.0], [0.0, 1.0]
    rows = {"lb": lower, "ub": upper}
    if block == "rows":
        rows = {"G": [[1.0, 1], [1, -1]], "h": upper, "h_lower": lower}
    solution = solve(EYE, [0.0, 0.0], **rows, throw=False)
    assert_status(solution, Status.PRIMAL_INFEASIBLE)
    assert_nan(solution, ["x"])


@pytest.mark.parametrize(
    "data",
    [
        {"Q": 0 * EYE, "q": [-1.0, 0], "lb": 0.0, "ub": [np.inf, 1.0]},
        {"Q": [[1.0, 1], [1, 1]], "q": [1.0, -1]},
        {"Q": [[1.0, 1], [1, 1]], "q": [1.0, -1], "G": [[1.0, 1], [1, 0]], "h": [1.0, 1]},
        {"Q": np.diag([1.0, 0]), "q": [0.0, -1e-3], "A": [[1.0, 0]], "b": [0.0]},
    ],
    ids=["linear program", "no constraints", "rows", "slow descent"],
)
def test_dual_infeasible(data):
    solution = solve(**data, throw=False)
    assert_status(solution, Status.DUAL_INFEASIBLE)
    assert_certificate(data, solution, ())


CURVED = {
    "boxed saddle": {"Q": np.diag([1.0, -1.0]), "lb": -1.0, "ub": 1.0},
    "free saddle": {"Q": np.diag([1.0, -1.0])},
    "no diagonal sign": {"Q": [[0.0, 1.0], [1.0, 0.0]], "lb": -1.0, "ub": 1.0},
    "negative definite": {"Q": -EYE, "G": np.vstack([EYE, -EYE]), "h": 1.0},
    "slightly negative": {"Q": np.diag([1.0, -1e-3]), "lb": -1.0, "ub": 1.0},
}


@pytest.mark.parametrize("data", CURVED.values(), ids=CURVED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_not_convex(data, dtype):
    data = {k: np.asarray(v, dtype) for k, v in (data | {"q": [0.1, 0.2]}).items()}
    solution = solve(**data, throw=False)
    assert_status(solution, Status.NOT_CONVEX)
    assert_nan(solution)


def test_a_negative_eigenvalue_beside_a_large_one_is_found_in_float64():
    solution = solve(np.diag([1e6, -1.0]), [0.1, 0.2], lb=-1.0, ub=1.0, throw=False)
    assert_status(solution, Status.NOT_CONVEX)


@pytest.mark.parametrize("size", [1e-12, 1e-10])
def test_negative_eigenvalues_of_rounding_size_pass_for_convex(size):
    v = np.full(4, 0.5)
    data = {"Q": np.outer(v, v) - size * np.eye(4), "q": [-1.0, -1, 1, 1], "lb": -1.0, "ub": 1.0}
    assert_solved(solve(**data), data, 1e-8)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["Q", "q", "G", "A", "b"])
def test_nonfinite_input(name, value):
    data = dict(known(Form(4, 5, 2, rows="both", box="both"), 100).data)
    data[name] = data[name].copy()
    data[name].flat[-1] = value
    solution = solve(**data, throw=False)
    assert_status(solution, Status.NONFINITE_INPUT)
    assert_nan(solution)


@pytest.mark.parametrize("name", ["h", "h_lower", "lb", "ub"])
def test_nan_in_a_limit_is_nonfinite_input(name):
    data = dict(known(Form(4, 5, 2, rows="both", box="both"), 101).data)
    data[name] = np.where(np.arange(data[name].size) == 1, np.nan, data[name])
    solution = solve(**data, throw=False)
    assert_status(solution, Status.NONFINITE_INPUT)
    assert_nan(solution)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e20, -1e20, 1e300])
@pytest.mark.parametrize("name", ["h", "h_lower", "lb", "ub"])
def test_infinity_of_either_sign_drops_the_side(name, value):
    data = {"Q": EYE, "q": [1.0, 2], "G": [[1.0, 1]], "h": 9.0, "h_lower": -9.0}
    data |= {"lb": -9.0, "ub": 9.0}
    solution = solve(**data | {name: value})
    np.testing.assert_allclose(solution.x, [-1, -2], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_max_iterations_keeps_the_last_iterate(dtype):
    data = {k: v.astype(dtype) for k, v in known(OPEN, 102, (9,)).data.items()}
    solution = solve(**data, settings=Settings(max_iterations=1), throw=False)
    assert (solution.status == Status.MAX_ITERATIONS).all()
    assert (solution.iterations == 1).all()
    for name in OUTPUTS:
        assert np.isfinite(getattr(solution, name)).all()


def test_an_objective_that_overflows_is_a_numerical_error():
    """The minimiser 1e160 is a number, its square is none."""
    solution = solve(EYE, [1e160, -1e160], throw=False)
    assert_status(solution, Status.NUMERICAL_ERROR)


EXTREME = {
    "answer beyond the range": {"Q": 1e-300 * EYE, "q": [1e300, 1e300]},
    "largest cost": {"Q": EYE, "q": [1e308, 1e308]},
    "largest curvature": {"Q": 1e308 * EYE, "q": [1.0, 1]},
    "all of the largest": {"Q": 1e308 * np.ones((2, 2)), "q": [1e308, 1e308]},
    "largest row": {"Q": EYE, "q": [1.0, 1], "G": [[1e308, 1e308]], "h": [-1.0]},
    "largest and smallest equality": {
        "Q": EYE, "q": [1.0, 1], "A": [[1e300, 1e300], [1e-300, -1e-300]], "b": [1e300, 1e-300],
    },
    "smallest of all": {"Q": 1e-300 * EYE, "q": [1e-300, 0], "G": 1e-300 * EYE, "h": -1e-300},
    "bound far away": {"Q": 0 * EYE, "q": [1.0, 1], "lb": -9e19},
}  # fmt: skip


@pytest.mark.parametrize("data", EXTREME.values(), ids=EXTREME)
def test_extreme_numbers_never_get_a_wrong_verdict(data):
    solution = solve(**data, throw=False)
    status = Status(int(solution.status))
    with np.errstate(all="ignore"):
        if status is Status.SOLVED:
            assert_solved(solution, data, 1e-8)
        elif status not in (Status.NUMERICAL_ERROR, Status.MAX_ITERATIONS):
            assert_certificate(data, solution, ())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_failures_leave_their_neighbours_solved(dtype):
    good = {k: v.astype(dtype) for k, v in known(OPEN, 103, (9,)).data.items()}
    spoiled = [failing(status, OPEN, 104) for status in FAILURES]
    data, ours = beside(good, spoiled, [0, 2, 5, 9])
    data = {name: value.astype(dtype) for name, value in data.items()}
    solution = solve(**data, throw=False)
    bad = np.setdiff1d(np.arange(len(solution.status)), ours)
    for status, index in zip(FAILURES, bad, strict=True):
        assert_status(solution, Status[status], index)
    assert solution.solved[ours].all()
    alone = solve(**good)
    assert_solved(alone, good, {np.float64: 1e-8, np.float32: 1e-5}[dtype])
    np.testing.assert_array_equal(solution.x[ours], alone.x)


@pytest.mark.parametrize("status", FAILURES)
def test_throw_says_how_many_which_why_and_what_to_do(status):
    good = known(OPEN, 105, (7,)).data
    data, _ = beside(good, [failing(status, OPEN, 106)] * 2, [3, 5])
    data = {name: value.reshape(3, 3, *value.shape[1:]) for name, value in data.items()}
    with pytest.raises(SolveError) as caught:
        solve(**data)
    message = str(caught.value)
    for part in ("2 of 9", "(1, 0)", status, Status[status].remedy):
        assert part in message
    assert isinstance(caught.value, QPError | RuntimeError)
    kept = caught.value.solution
    assert kept.status.shape == (3, 3)
    assert kept.solved.sum() == 7
    with pytest.raises(SolveError):
        kept.raise_for_status()


def test_no_throw_returns_and_solved_does_not_raise():
    solution = solve(**known(OPEN, 107, (3,)).data, throw=False)
    assert solution.raise_for_status() is None
    assert solution.solved.all()


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_remedy_of_one_sentence(status):
    assert status.remedy.endswith(".")
    assert len(status.remedy) > 10
