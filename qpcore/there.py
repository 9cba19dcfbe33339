"""Solves of CUDA arrays, where they lie and on the caller's stream.

Nothing here waits for the GPU, unless the caller asks for what only the host can do: `throw`. What
the launch needs beside the caller's arrays (absent arguments, indices of entries) is sent when it
is first needed and then kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from qpcore.arguments import CORE_AXES, NO_LIMIT
from qpcore.kernels.adjoint import Derivative, Rules
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import NOTES, Certificate, Data, Sizes
from qpcore.libraries import library_of
from qpcore.problem import Problem
from qpcore.problem_there import DTYPES, dtype_name
from qpcore.settings import Settings
from qpcore.stages import interior_stages


def solve(gpu: Any, problem: Problem, sizes: Sizes, settings: Settings) -> dict[str, Any]:
    """Answers and outcomes, arrays of the caller's library, in the shape of the batch."""
    library, batch = library_of(problem.Q), problem.batch_size
    dtype = DTYPES[dtype_name(problem.Q)]
    stages = interior_stages(dtype, settings)
    lengths = {"x": sizes.n, "z": sizes.m, "y": sizes.p, "z_box": sizes.n}
    with gpu.on_device(library.device(problem.Q)) as number:
        found = {name: library.empty((batch, k), dtype) for name, k in lengths.items()}
        found["status"] = library.empty((batch,), np.int8)
        found["iterations"] = library.empty((batch,), np.int32)
        views = {name: gpu.view(array) for name, array in found.items()}
        trace = kept(gpu, number, "trace", (batch, 0, NOTES), dtype)
        gpu.launch_solve(
            data_of(gpu, number, problem, dtype),
            Result(**views, trace=trace),
            sizes,
            stages,
            gpu.stream_of(library.stream()),
            lambda shape: gpu.view(library.empty(shape, dtype)),
        )
    shape = problem.batch_shape
    return {name: array.reshape((*shape, *array.shape[1:])) for name, array in found.items()}


def adjoint(
    gpu: Any, problem: Problem, sizes: Sizes, rules: Rules, answer: Vectors, right: Vectors
) -> Derivative:
    """What `cpu_gradients.adjoint` finds, as arrays like `answer` and `right`, (batch, ·)."""
    library, dtype = library_of(problem.Q), DTYPES[dtype_name(problem.Q)]
    batch, columns = problem.batch_size, len(Certificate._fields)
    with gpu.on_device(library.device(problem.Q)) as number:
        d, exact = (
            Vectors(*(library.empty(tuple(v.shape), dtype) for v in answer)) for _ in range(2)
        )
        found = Derivative(d, exact, library.empty((batch, columns), dtype))
        at, cotangents = (
            Vectors(*(gpu.view(library.contiguous(v)) for v in vectors))
            for vectors in (answer, right)
        )
        d_place, exact_place = (Vectors(*map(gpu.view, vectors)) for vectors in (d, exact))
        gpu.launch_adjoint(
            data_of(gpu, number, problem, dtype),
            at,
            cotangents,
            Derivative(d_place, exact_place, gpu.view(found.certificate)),
            sizes,
            rules,
            gpu.stream_of(library.stream()),
            lambda shape: gpu.view(library.empty(shape, dtype)),
        )
    return found


def data_of(gpu: Any, number: int, problem: Problem, dtype: np.dtype) -> Data:
    """The problem as the driver takes it."""
    arrays, leads = [], []
    for name, axes in CORE_AXES.items():
        array = getattr(problem, name)
        core = tuple({"n": problem.n, "m": problem.m, "p": problem.p}[axis] for axis in axes)
        lead = () if array is None else tuple(array.shape[: array.ndim - len(core)])
        leads.append(lead)
        if array is None:
            arrays.append(kept(gpu, number, name, (1, *core), dtype))
        else:
            arrays.append(gpu.view(array.reshape((int(np.prod(lead)), *core))))
    return Data._make([*arrays, entries(gpu, number, tuple(leads), problem.batch_shape)])


@lru_cache(maxsize=256)
def kept(gpu: Any, number: int, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """An absent argument on the device: limits at infinity, zeros, or nothing."""
    return gpu.cuda.to_device(np.full(shape, NO_LIMIT.get(name, 0.0), dtype))


@lru_cache(maxsize=256)
def entries(gpu: Any, number: int, leads: tuple, batch_shape: tuple[int, ...]) -> Any:
    """Which row of each argument a problem uses, on the device."""
    rows = np.empty((len(leads), int(np.prod(batch_shape))), np.int64)
    for row, lead in zip(rows, leads, strict=True):
        index = np.arange(int(np.prod(lead)), dtype=np.int64).reshape(lead)
        row[:] = np.broadcast_to(index, batch_shape).reshape(-1)
    return gpu.cuda.to_device(rows)
