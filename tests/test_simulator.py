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

from qpcore import Settings, Status, cpu, cpu_gradients, handover, vjp
from qpcore import solve as solve_here
from qpcore.kernels.transfer import Vectors
from qpcore.linear import rules_of
from qpcore.problem import Problem
from qpcore.stages import interior_stages

# A loose tolerance costs fewer iterations, and the two still agree to the last digits.
SETTINGS = Settings(tol=1e-4, max_iterations=40, threads=1)
LANES = 3

# More rows than lanes; bounds only, whose rows of C start where no row of G is; shared matrices.
KNOWN = {
    "everything": known(Form(3, 3, 1, rows="both", box="both"), 3, (1,)).data,
    "bounds": known(Form(3, 0, 1, box="mixed"), 4, (1,)).data,
    "shared": known(Form(2, 3, 1, rows="lower"), 5, (2,), shared=("Q", "G")).data,
}

# Without shared memory the workspace is in global memory; without free memory every problem is a
# part by itself.
LIMITS = {"everything": {}, "bounds": {"shared": 0}, "shared": {"free": 0.0}}

ANSWERS = ("x", "z", "y", "z_box", "status", "iterations")

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


# What a simulated barrier makes long; `make test-gpu` runs it.
LONG = [pytest.mark.slow, pytest.mark.simulated]


# The same kernels are tested in all these cases on the CPU; what is a block's own, lanes that
# divide the work and wait for each other, is in the first one.
@pytest.mark.parametrize(
    "case", ["everything", *(pytest.param(name, marks=LONG) for name in ("bounds", "shared"))]
)
def test_a_block_answers_like_the_cpu(case):
    data, sizes, stages = arguments(KNOWN[case])
    result = cpu.solve(data, sizes, stages, SETTINGS.threads, trace=True)
    assert not result.status.any()
    limits = LIMITS[case]
    assert_close(in_simulator(solve, data, sizes, stages, **limits), result)

    answer = Vectors(result.x, result.z, result.y, result.z_box)
    rng = np.random.default_rng(6)
    cotangents = Vectors(*(rng.standard_normal(part.shape) for part in answer))
    at_answer = data, sizes, rules_of(data.Q.dtype), answer, cotangents
    expected = cpu_gradients.adjoint(*at_answer, SETTINGS.threads)
    found = in_simulator(differentiate, *at_answer, **limits)
    assert_close(found.adjoint, expected.adjoint)
    assert_close(found.answer, expected.answer)
    # Condition and error are ratios of rounding errors, in part.
    np.testing.assert_allclose(found.certificate[:, 0], expected.certificate[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.certificate[:, 2], expected.certificate[:, 2], rtol=0.5)


@pytest.mark.slow
@pytest.mark.simulated
def test_tensors_are_solved_where_they_lie():
    pytest.importorskip("torch")
    given = KNOWN["shared"] | {"lb": np.array(-5.0)}
    solution = solve_here(**given, settings=SETTINGS)
    dx = np.random.default_rng(7).standard_normal(solution.x.shape)
    gradients = vjp(solution, dx=dx)
    expected = [getattr(solution, name) for name in ANSWERS]
    expected += [getattr(gradients, name) for name in given]
    found = in_simulator(solve_tensors, given, SETTINGS, dx)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.simulated
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
    return (
        handover.data_of(problem),
        handover.sizes_of(problem),
        interior_stages(problem.dtype, SETTINGS),
    )


def assert_close(found, expected, trace=1e-8, tight=1e-10):
    """Both are the same namedtuple of arrays; NaN equals NaN."""
    for name, ours, theirs in zip(expected._fields, found, expected, strict=True):
        tol = trace if name == "trace" else tight
        np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol, err_msg=name)


# ---- in the process with the simulator -----------------------------------------------------------


def in_simulator(function, *given, **limits):
    """What `solve` or `differentiate` returns there."""
    process = subprocess.run(
        [sys.executable, __file__],
        input=pickle.dumps((function.__name__, given, limits)),
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=280,
    )
    return pickle.loads(process.stdout)


def solve(data, sizes, stages, **limits):
    """Solve by the GPU driver."""
    return driver(**limits).solve(data, sizes, stages, trace=True)


def differentiate(data, sizes, rules, answer, cotangents, **limits):
    """Solve the adjoint systems by the GPU driver."""
    return driver(**limits).adjoint(data, sizes, rules, answer, cotangents)


def solve_tensors(given, settings, dx):
    """Solve tensors and differentiate, as if they lay on a GPU; answers and gradients."""
    import torch

    pretend_on_gpu()
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in given.items()}
    solution = solve_here(**tensors, settings=settings)
    gradients = vjp(solution, dx=torch.from_numpy(dx))
    found = [getattr(solution, name) for name in ANSWERS]
    found += [getattr(gradients, name) for name in given]
    assert all(isinstance(tensor, torch.Tensor) for tensor in found)
    assert solution.on_host().primal_residual().shape == solution.status.shape
    return [tensor.numpy() for tensor in found]


def pretend_on_gpu(**limits):
    """Let every tensor pass for one that lies on a GPU."""
    import torch

    from qpcore import devices, libraries

    gpu = driver(**limits)
    gpu.view = lambda tensor: tensor.numpy()
    devices.gpu_driver = lambda: gpu
    devices.is_on_gpu = lambda value: isinstance(value, torch.Tensor)
    libraries.Torch.stream = lambda library: 0


def driver(shared=48 * 1024, free=np.inf):
    """The GPU driver for a device of so much shared and free memory, with a team of a few lanes.

    Memory is NaN, and output absurd, where a kernel wrote none.
    """
    from numba import cuda

    from qpcore import gpu, plans

    def device_array(shape, dtype):
        absurd = np.nan if np.dtype(dtype).kind == "f" and len(shape) == 2 else 99
        return cuda.to_device(np.full(shape, absurd, dtype))

    plans.THREADS = ((float("inf"), LANES),)
    gpu.described = lambda number: plans.Device(1, shared)
    gpu.memory_free = lambda: free
    gpu.cuda.device_array = device_array
    return gpu


if __name__ == "__main__":
    # Pivots beyond the end of a tile may be negative. Compiled code makes them NaN and never stores
    # them; Python's own sqrt raises.
    math.sqrt = np.sqrt
    name, given, limits = pickle.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(pickle.dumps(globals()[name](*given, **limits)))
