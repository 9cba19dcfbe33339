"""The GPU's kernels in Numba's simulator, against the CPU: the same source, a team of three lanes.

A simulated barrier takes milliseconds, so problems are tiny. This file is both the test and, run as
a program, the process with the simulator, where Numba compiles nothing.
"""

import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from problems import Form, known

from qpcore import Settings, Status, cpu, solving
from qpcore.kernels.transfer import Vectors
from qpcore.kernels.workspace import elements
from qpcore.linearise import rules_of
from qpcore.problem import Problem
from qpcore.stages import parameters_of

# A loose tolerance costs fewer iterations, and the two still agree to the last digits.
SETTINGS = Settings(tol=1e-4, max_iterations=40, threads=1)
LANES = 3

# More rows than lanes; bounds only, whose rows of C start where no row of G is; shared matrices.
KNOWN = {
    "everything": known(Form(3, 3, 1, rows="both", box="both"), 3, (1,)).data,
    "bounds": known(Form(3, 0, 1, box="mixed"), 4, (1,)).data,
    "shared": known(Form(2, 3, 1, rows="lower"), 5, (2,), shared=("Q", "G")).data,
}

# The search for a ray changes the matrices that the next problem of the block shares.
PLANE = {"Q": np.eye(2), "q": -np.ones(2), "G": np.ones((1, 2)), "lb": np.zeros(2)}
SLOPE = {"Q": np.diag([1.0, 0.0]), "A": [[1.0, 0.0]], "b": [1.0], "lb": np.zeros(2)}
RAYS = {
    "infeasible": (
        PLANE | {"A": [[1.0, -1.0]], "b": [0.0], "h": [[-1.0], [1.0]]},
        Status.PRIMAL_INFEASIBLE,
    ),
    "unbounded": (SLOPE | {"q": [[1.0, -1.0], [1.0, 1.0]]}, Status.DUAL_INFEASIBLE),
}


# A minute of simulated barriers. The same kernels are tested in all these cases on the CPU; what is
# a block's own, lanes that divide the work and wait for each other, is in the first one.
@pytest.mark.parametrize(
    "case",
    ["everything", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bounds", "shared"))],
)
def test_a_block_answers_like_the_cpu(case):
    data, sizes, stages = arguments(KNOWN[case])
    result = cpu.solve(data, sizes, stages, SETTINGS.threads, trace=True)
    assert not result.status.any()
    assert_close(in_simulator(solve, data, sizes, stages), result)

    answer = Vectors(result.x, result.z, result.y, result.z_box)
    rng = np.random.default_rng(6)
    cotangents = Vectors(*(rng.standard_normal(part.shape) for part in answer))
    at_answer = data, sizes, rules_of(data.Q.dtype), answer, cotangents
    expected = cpu.adjoint(*at_answer, SETTINGS.threads)
    found = in_simulator(differentiate, *at_answer)
    assert_close(found.adjoint, expected.adjoint)
    assert_close(found.answer, expected.answer)
    # Condition and error are ratios of rounding errors, in part.
    np.testing.assert_allclose(found.certificate[:, 0], expected.certificate[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.certificate[:, 2], expected.certificate[:, 2], rtol=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("case", RAYS)
def test_a_block_finds_the_rays_that_the_cpu_finds(case):
    given, status = RAYS[case]
    data, sizes, stages = arguments(given)
    result = cpu.solve(data, sizes, stages, SETTINGS.threads, trace=True)
    assert result.status.tolist() == [status, Status.SOLVED]
    # On the way to infinity residuals are rounding errors of terms around 1e10.
    assert_close(in_simulator(solve, data, sizes, stages), result, trace=1e-4)


def arguments(given):
    """What the drivers take: data, sizes, stages."""
    problem = Problem.parse(**given)
    return solving.data_of(problem), solving.sizes_of(problem), parameters_of(problem, SETTINGS)


def assert_close(found, expected, trace=1e-8):
    """Both are the same namedtuple of arrays; NaN equals NaN."""
    for name, ours, theirs in zip(expected._fields, found, expected, strict=True):
        tol = trace if name == "trace" else 1e-8
        np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol, err_msg=name)


# ---- in the process with the simulator -----------------------------------------------------------


def in_simulator(function, *given):
    """What `solve` or `differentiate` returns there."""
    process = subprocess.run(
        [sys.executable, __file__],
        input=pickle.dumps((function.__name__, given)),
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=280,
    )
    return pickle.loads(process.stdout)


def solve(data, sizes, stages):
    """Solve in one block."""
    traced = stages[0].max_iterations + 1
    result = cpu.empty_result(data.entry.shape[1], sizes, data.Q.dtype, traced)
    launch("solve_block", (data, result), result, sizes, stages, traced)
    return result


def differentiate(data, sizes, rules, answer, cotangents):
    """Solve the adjoint systems in one block."""
    derivative = cpu.empty_derivative(len(answer.x), sizes, data.Q.dtype)
    outputs = (*derivative.adjoint, *derivative.answer, derivative.certificate)
    arrays = data, answer, cotangents, derivative
    launch("differentiate_block", arrays, outputs, sizes, rules, traced=1)
    return derivative


def launch(kernel, arrays, output, sizes, parameters, traced=0):
    """Run a kernel in one block; its memory is NaN, and its output absurd, where it wrote none."""
    from numba import cuda

    from qpcore import gpu

    for array in output:
        array.fill(99)
    memory = np.full((1, elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced)), np.nan)
    cuda.jit(getattr(gpu, kernel))[1, LANES](*arrays, memory, sizes, parameters)


if __name__ == "__main__":
    # Pivots beyond the end of a tile may be negative. Compiled code makes them NaN and never stores
    # them; Python's own sqrt raises.
    math.sqrt = np.sqrt
    name, given = pickle.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(pickle.dumps(globals()[name](*given)))
