"""SOLVED is taken back where rounding leaves it in doubt, and only there."""

import numpy as np
import pytest
from checks import WIDEST, answers
from oracle import full
from problems import Form, known

from qpcore import Problem, Settings, Solution, Status, cpu, handover, promise, solve, solving
from qpcore.kernels.transfer import Vectors

F64 = np.float64

FORMS = {
    "everything": Form(6, 7, 2, "mixed", "mixed"),
    "bounds": Form(5, 0, 0, box="both"),
    "no limits": Form(4, 0, 0),
}


def solved(data, x, z=(), y=(), z_box=None, tol=None):
    """An answer from anywhere that claims to be SOLVED."""
    x = np.asarray(x, float)
    parts = [np.asarray(v, float) for v in (z, y, np.zeros_like(x) if z_box is None else z_box)]
    status = np.zeros(x.shape[:-1], np.int8)
    settings = Settings(tol=tol)
    problem = Problem.parse(**data)
    return Solution(x, *parts, status, status.astype(np.int32), problem, settings)


def exact_mass(data, point):
    """Sums of the magnitudes of the terms of the three residuals, in extended precision."""
    d = {name: np.abs(value) for name, value in full(data, WIDEST).items()}
    x, z, y, z_box = (np.abs(np.asarray(part, WIDEST)) for part in point)
    given = full(data, WIDEST)

    def pull(upper, lower, v):
        pairs = zip(given[upper], given[lower], v, strict=True)
        return sum(abs(s * (up if s > 0 else low)) for up, low, s in pairs if s != 0)

    dual = d["Q"] @ x + d["q"] + d["G"].T @ z + d["A"].T @ y + z_box
    gap = x @ d["Q"] @ x + d["q"] @ x + d["b"] @ y
    gap += pull("h", "h_lower", point.z) + pull("ub", "lb", point.z_box)
    rows = np.concatenate([d["G"] @ x, d["A"] @ x, np.zeros(1)])
    return float(rows.max()), float(dual.max()), float(gap)


def measured(solution):
    """What the kernels measure of every problem."""
    problem = solution.problem
    flat = (v.reshape(problem.batch_size, v.shape[-1]) for v in promise.answer_of(solution))
    answer, everyone = Vectors(*flat), np.arange(problem.batch_size)
    return cpu.measure(handover.data_of(problem), answer, everyone, threads=1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_exact_measures_are_those_of_the_solution(form, dtype):
    problems = known(form, seed=3, batch=(2, 3)).astype(dtype)
    solution = solve(**problems.data, throw=False)
    rng = np.random.default_rng(4)
    for part in promise.answer_of(solution):  # residuals of all kinds, limits of all signs
        part += rng.choice([0, -1, 1], part.shape) * rng.random(part.shape).astype(dtype)
    found = measured(solution)
    for name, measure in {
        "primal": solution.primal_residual, "primal_size": solution.primal_scale,
        "dual": solution.dual_residual, "dual_size": solution.dual_scale,
        "gap": solution.duality_gap, "gap_size": solution.gap_scale,
        "objective": solution.objective,
    }.items():  # fmt: skip
        expected = measure().reshape(-1)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-12, atol=1e-13)
    assert (found.primal > 0).all() or not form.m


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_masses_are_sums_of_magnitudes(form):
    data = known(form, seed=3, batch=(2, 2)).data
    solution = solve(**data, throw=False)
    found = measured(solution)
    for i, (_, problem, point) in enumerate(answers(solution, data)):
        masses = found.primal_mass[i], found.dual_mass[i], found.gap_mass[i]
        np.testing.assert_allclose(masses, exact_mass(problem, point), rtol=1e-12)


def test_what_cancels_beyond_recognition_is_taken_back():
    # x'Qx = 1 is left over of terms of 1e20. The condition Qx + q = 0 holds to the last digit.
    Q = np.array([[1.0, -1.0], [-1.0, 1.0]])
    x = np.array([1e10 + 1, 1e10])
    solution = solved({"Q": Q, "q": -Q @ x}, x)
    assert solution.dual_residual() == 0
    assert solution.duality_gap() == 0, "it looks perfect"
    promise.take_back(solution)
    assert solution.status == Status.NUMERICAL_ERROR


def test_large_terms_that_do_not_cancel_keep_their_status():
    x = np.array([1e10, -1e10])
    solution = solved({"Q": np.eye(2), "q": -x}, x)
    promise.take_back(solution)
    assert solution.solved


def test_a_broken_promise_is_taken_back_in_float32():
    # A residual of 1e-4 of its terms beside masses that make the kernels' float32 doubtful.
    Q = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    x = np.array([1.0, 1.0], np.float32)
    q = np.array([1e-4, -1e-4], np.float32)
    solution = solved({"Q": Q, "q": q}, x)
    promise.take_back(solution)
    assert solution.status == Status.NUMERICAL_ERROR


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_kernels_doubt_what_the_promise_doubts(form, dtype, monkeypatch):
    seen, different, take_doubt = [], 0, solving.take_doubt

    def spy(status):
        if (found := take_doubt(status)) is not None:
            seen[-1] = found

    monkeypatch.setattr(solving, "take_doubt", spy)
    for seed, units in enumerate(np.logspace(0, 12 if dtype == F64 else 6, 60)):
        problems = known(form, seed, (9,))
        # A curvature that the answer does not feel: masses grow, what is left of them does not.
        x = problems.answer.x[..., None]
        across = np.ones_like(x) - x * x.sum(axis=1, keepdims=True) / (x * x).sum(
            axis=1, keepdims=True
        )
        data = {name: value.astype(dtype) for name, value in problems.data.items()}
        data["Q"] = (problems.data["Q"] + units * across * across.swapaxes(1, 2)).astype(dtype)
        seen.append(np.zeros(9, bool))
        solution = solve(**data, throw=False, settings=Settings(tol=1e-6 if dtype == F64 else 1e-3))
        with np.errstate(invalid="ignore"):
            expected = solution.solved & promise.is_doubtful(solution)
        # The kernels add up squares of G and A where the other takes the larger.
        assert (seen[-1] >= expected).all()
        different += np.count_nonzero(seen[-1] != expected)
    assert different < 0.2 * np.sum(seen)
    assert 0 < np.mean(seen) < 1


def test_neighbours_have_no_say():
    Q = np.array([[1.0, -1.0], [-1.0, 1.0]])
    bad, good = np.array([1e10 + 1, 1e10]), np.array([2.0, 1.0])
    x = np.array([[good, bad, [np.nan, np.nan]], [bad, good, bad]])
    solution = solved({"Q": Q, "q": -(x @ Q)}, x, np.zeros((2, 3, 0)), np.zeros((2, 3, 0)))
    solution.status[0, 2] = Status.NONFINITE_INPUT
    promise.take_back(solution)
    broken, nan = Status.NUMERICAL_ERROR, Status.NONFINITE_INPUT
    assert solution.status.tolist() == [[0, broken, nan], [broken, 0, broken]]
