"""The GPU's kernels in Numba's simulator, against the CPU: the same source, a team of four lanes.

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

from qpcore import Settings, api, cpu
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import NOTES, elements
from qpcore.problem import Problem

SETTINGS = Settings(max_iterations=15, threads=1)
LANES = 4

# More rows than lanes; bounds only, whose rows of C start where no row of G is; shared matrices.
CASES = {
    "everything": known(Form(3, 3, 1, rows="both", box="both"), 3, (1,)),
    "bounds": known(Form(3, 0, 1, box="mixed"), 4, (1,)),
    "shared": known(Form(2, 3, 1, rows="lower"), 5, (2,), shared=("Q", "G")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_block_answers_like_the_cpu(case):
    data = CASES[case].data
    problem = Problem.parse(**data)
    arguments = api.data_of(problem), api.sizes_of(problem), api.parameters_of(problem, SETTINGS)
    result = cpu.solve(*arguments, 1, trace=True)
    assert not result.status.any()
    answer = Vectors(result.x, result.z, result.y, result.z_box)
    rng = np.random.default_rng(6)
    cotangents = Vectors(*(rng.standard_normal(part.shape) for part in answer))
    adjoint = cpu.adjoint(*arguments, answer, cotangents, 1)

    solved, differentiated = in_simulator(*arguments, answer, cotangents)
    for name, ours, theirs in zip(Result._fields, solved, result, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8, err_msg=name)
    for name, ours, theirs in zip(Vectors._fields, differentiated, adjoint, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8, err_msg=name)


def in_simulator(*arguments):
    """What one simulated block answers to these arguments of `simulate`."""
    process = subprocess.run(
        [sys.executable, __file__],
        input=pickle.dumps(arguments),
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=280,
    )
    return pickle.loads(process.stdout)


def simulate(data, sizes, parameters, answer, cotangents):
    """Solve, then differentiate, in one block; its memory is NaN where nothing was written."""
    from numba import cuda

    from qpcore import gpu

    # Pivots beyond the end of a tile may be negative. Compiled code makes them NaN and never stores
    # them; Python's own sqrt raises.
    math.sqrt = np.sqrt
    traced = parameters.max_iterations + 1
    shape = (1, elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced))
    outputs = [np.full(part.shape, np.nan) for part in answer]
    x, z, y, z_box = outputs
    batch = len(x)
    status, iterations = np.full(batch, -1, np.int8), np.full(batch, -1, np.int32)
    trace = np.full((batch, traced, NOTES), -1.0)
    result = Result(x, z, y, z_box, status, iterations, trace)
    adjoint = Vectors(*(np.full(part.shape, np.nan) for part in answer))
    cuda.jit(gpu.solve_block)[1, LANES](data, result, np.full(shape, np.nan), sizes, parameters)
    cuda.jit(gpu.differentiate_block)[1, LANES](
        data, answer, cotangents, adjoint, np.full(shape, np.nan), sizes, parameters
    )
    return result, adjoint


if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(simulate(*pickle.loads(sys.stdin.buffer.read()))))
