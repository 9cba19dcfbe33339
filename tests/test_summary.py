"""The summary of a solution: exact words for answers made by hand."""

from textwrap import dedent

import numpy as np
import pytest
from cases import FAILURES, OPEN, beside, failing
from problems import known

from qpcore import Problem, Settings, Solution, Status, solve

PROBLEM = {"Q": np.eye(2), "q": [-1.0, -1.0], "A": [[0.0, 1.0]], "b": [0.25], "ub": [0.5, np.inf]}
X, Y, Z_BOX = np.array([0.5, 0.25]), np.array([0.75]), np.array([0.5, 0.0])


def answer(status, iterations, off=0.0, batch=(), settings=Settings(), dtype=np.float64):
    """The minimiser of PROBLEM, its first entry off by so much in each problem of the batch."""
    arrays = {name: np.asarray(value, dtype) for name, value in PROBLEM.items()}
    arrays["q"] = np.broadcast_to(arrays["q"], (*batch, 2)).copy()
    problem = Problem.parse(**arrays)
    status = np.broadcast_to(np.asarray(status, np.int8), batch)
    iterations = np.broadcast_to(np.asarray(iterations, np.int32), batch)
    x = np.zeros((*batch, 2)) + X
    x[..., 0] += off
    y, z_box = np.zeros((*batch, 1)) + Y, np.zeros((*batch, 2)) + Z_BOX
    x, z, y, z_box = (v.astype(dtype) for v in (x, np.zeros((*batch, 0)), y, z_box))
    return Solution(x, z, y, z_box, status, iterations, problem, settings)


ONE = {
    "solved": (
        answer(Status.SOLVED, 7, off=2.0**-30),
        """\
        status           SOLVED
        size             n = 2, m = 0, p = 1, float64
        iterations       7
        objective        -0.59375
        primal residual  9.3e-10 <= 1.5e-08
        dual residual    9.3e-10 <= 2.0e-08
        duality gap      0.0e+00 <= 1.8e-08""",
    ),
    "float32": (
        answer(Status.SOLVED, 7, dtype=np.float32),
        """\
        status           SOLVED
        size             n = 2, m = 0, p = 1, float32
        iterations       7
        objective        -0.59375
        primal residual  0.0e+00 <= 1.5e-05
        dual residual    0.0e+00 <= 2.0e-05
        duality gap      0.0e+00 <= 1.8e-05""",
    ),
    "stopped": (
        answer(Status.MAX_ITERATIONS, 3, off=-0.25, settings=Settings(tol=0.25)),
        """\
        status           MAX_ITERATIONS
        what to try      Raise Settings.max_iterations, loosen Settings.tol, or bring
                         the data to similar magnitudes.
        size             n = 2, m = 0, p = 1, float64
        iterations       3
        objective        -0.4375
        primal residual  0.0e+00 <= 3.8e-01
        dual residual    2.5e-01 <= 5.0e-01
        duality gap      6.2e-02 <= 3.8e-01""",
    ),
    "too far": (
        answer(Status.NUMERICAL_ERROR, 3, off=-0.25),
        """\
        status           NUMERICAL_ERROR
        what to try      Use float64, loosen Settings.tol, bring the data to similar
                         magnitudes, or drop nearly dependent rows of A and G.
        size             n = 2, m = 0, p = 1, float64
        iterations       3
        objective        -0.4375
        primal residual  0.0e+00 <= 1.5e-08
        dual residual    2.5e-01 >  2.0e-08
        duality gap      6.2e-02 >  1.5e-08""",
    ),
    "certificate": (
        answer(Status.DUAL_INFEASIBLE, 11),
        """\
        status           DUAL_INFEASIBLE
        what to try      Bound the variables along the ray in x, or add a small multiple
                         of the identity to Q.
        size             n = 2, m = 0, p = 1, float64
        iterations       11
        objective        nan
        primal residual  nan
        dual residual    nan
        duality gap      nan""",
    ),
}

BATCH = {
    "solved": (
        answer(Status.SOLVED, [4, 9, 6], np.array([0.0, 2.0**-30, 2.0**-31]), (3,)),
        """\
        problems         3, batch shape (3,)
        size             n = 2, m = 0, p = 1, float64
        SOLVED           3
        iterations       min 4, median 6, max 9
        of the SOLVED    largest residual / (1 + scale), where tol = 1e-08
        primal residual  6.2e-10 at (1,)
        dual residual    4.7e-10 at (1,)
        duality gap      0.0e+00 at (0,)""",
    ),
    "mixed": (
        answer([[0, 2], [6, 0]], [[5, 8], [0, 6]], np.array([[0, 1], [np.nan, 2.0**-30]]), (2, 2)),
        """\
        problems           4, batch shape (2, 2)
        size               n = 2, m = 0, p = 1, float64
        SOLVED             2
        PRIMAL_INFEASIBLE  1
        NONFINITE_INPUT    1
        iterations         min 0, median 5.5, max 8
        of the SOLVED      largest residual / (1 + scale), where tol = 1e-08
        primal residual    6.2e-10 at (1, 1)
        dual residual      4.7e-10 at (1, 1)
        duality gap        0.0e+00 at (0, 0)
        first failed       (0, 1) PRIMAL_INFEASIBLE
        what to try        Check signs and lb <= ub, or relax some of the constraints
                           that clash: those whose entry of z, y, z_box is not zero.""",
    ),
    "none solved": (
        answer(Status.NOT_CONVEX, 0, batch=(1,)),
        """\
        problems      1, batch shape (1,)
        size          n = 2, m = 0, p = 1, float64
        NOT_CONVEX    1
        iterations    min 0, median 0, max 0
        first failed  (0,) NOT_CONVEX
        what to try   Check the sign of Q; if rounding made it indefinite, build it as L
                      @ L.T + eps * I.""",
    ),
    "empty": (
        answer(Status.SOLVED, 0, batch=(3, 0)),
        """\
        problems  0, batch shape (3, 0)
        size      n = 2, m = 0, p = 1, float64""",
    ),
}


@pytest.mark.parametrize("case", [*ONE.values(), *BATCH.values()], ids=[*ONE, *BATCH])
def test_words(case):
    solution, expected = case
    assert solution.summary() == dedent(expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_batch_has_a_summary_whose_lines_fit(dtype):
    good, bad = known(OPEN, 130, (9,)).data, [failing(status, OPEN, 131) for status in FAILURES]
    data, _ = beside(good, bad, [3, 3, 5, 9])
    data["q"][0] = 1e30
    solution = solve(**{name: value.astype(dtype) for name, value in data.items()}, throw=False)
    lines = solution.summary().splitlines()
    assert all(line == line.rstrip() and len(line) <= 80 for line in lines)
    for status in FAILURES:
        assert f"{status:19}1" in lines
