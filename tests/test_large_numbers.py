"""A solution far away, or a steep cost, is no proof that there is none."""

from pathlib import Path

import numpy as np
import pytest
from checks import DUAL_INFEASIBLE, PRIMAL_INFEASIBLE, assert_solved

from qpcore import Status, solve

ZERO, EYE = np.zeros((2, 2)), np.eye(2)

# Each has a solution whatever the size s > 0.
CASES = {
    "far minimum": lambda s: {"Q": EYE, "q": [-s, s]},
    "far minimum before a bound": lambda s: {"Q": EYE, "q": [-s, s], "ub": 2 * s},
    "far bound, linear cost": lambda s: {"Q": ZERO, "q": [1, 1], "lb": s},
    "far bound": lambda s: {"Q": EYE, "q": [0, 0], "lb": s},
    "far box": lambda s: {"Q": EYE, "q": [1, -1], "lb": s, "ub": 2 * s},
    "far fixed variables": lambda s: {"Q": EYE, "q": [0, 0], "lb": s, "ub": s},
    "far row": lambda s: {"Q": EYE, "q": [0, 0], "G": [[1, 2]], "h_lower": [s]},
    "far equality": lambda s: {"Q": EYE, "q": [0, 0], "A": [[1, 2]], "b": [s]},
    "twice a far equality": lambda s: {
        "Q": EYE, "q": [1, 0], "A": [[1, 2], [3, 6]], "b": [s, 3 * s],
    },
    "steep cost before a bound": lambda s: {"Q": ZERO, "q": [-s, -s], "ub": 1},
    "steep cost in a box": lambda s: {"Q": ZERO, "q": [-s, s], "lb": 0, "ub": 1},
    "steep cost before rows": lambda s: {
        "Q": ZERO, "q": [-s, -s], "G": [[1, 2], [2, 1]], "h": [1, 1],
    },
    "steep and curved": lambda s: {"Q": s * EYE, "q": [-s, s], "ub": 0.5},
    "steep, little curved": lambda s: {"Q": EYE / s, "q": [-s, s], "lb": 0, "ub": 1},
}  # fmt: skip

# Beyond these the numbers of the scaled problem overflow: slope over curvature is the size squared,
# the objective at the start its fourth power, and 1e30 counts as overflow.
LARGEST = {"steep, little curved": 1e10}


def solutions(case, sizes, dtype):
    """Yield (size, data, solution) of one case."""
    for size in sizes[sizes <= LARGEST.get(case, np.inf)]:
        data = {name: np.asarray(v, dtype) for name, v in CASES[case](size).items()}
        yield size, data, solve(**data, throw=False)


@pytest.mark.parametrize("case", CASES)
def test_solved_at_every_size_in_float64(case):
    for size, data, solution in solutions(case, np.logspace(-12, 12, 25), np.float64):
        assert solution.solved, f"{Status(int(solution.status)).name} at {size:.0e}"
        assert_solved(solution, data, 1e-8)


@pytest.mark.parametrize("case", CASES)
def test_no_wrong_verdict_in_float32(case):
    for size, data, solution in solutions(case, np.logspace(-9, 9, 19), np.float32):
        status = Status(int(solution.status))
        assert status not in (PRIMAL_INFEASIBLE, DUAL_INFEASIBLE), f"{status.name} at {size:.0e}"
        if solution.solved:
            assert_solved(solution, data, 1e-5)


def test_minimiser_without_the_box_far_outside_of_it():
    with np.load(Path(__file__).parent / "data" / "far_minimiser.npz") as arrays:
        data = {**arrays, "lb": np.float64(-13), "ub": np.float64(13)}
    assert abs(np.linalg.solve(data["Q"], data["q"])).max() > 100 * data["ub"]
    solution = solve(**data, throw=False)
    assert solution.solved
    assert_solved(solution, data, 1e-8)
