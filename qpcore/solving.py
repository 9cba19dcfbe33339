"""From a Problem to its Solution, through a driver."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from qpcore import cpu, devices, rooms, there
from qpcore.answers import in_batch, room_for
from qpcore.arrays import F64, made
from qpcore.errors import ProblemError
from qpcore.forms import Form
from qpcore.handover import data_of, sizes_in, sizes_of
from qpcore.kernels.certificate import DUAL
from qpcore.kernels.doubt import IN_DOUBT
from qpcore.kernels.pack import lanes_of
from qpcore.kernels.transfer import Result
from qpcore.kernels.whole import elements_of_whole
from qpcore.kernels.workspace import elements_of_dual
from qpcore.problem import Problem
from qpcore.problem_there import problem_of
from qpcore.promise import take_back
from qpcore.rooms import Kept, Saved
from qpcore.settings import Settings
from qpcore.solution import Solution
from qpcore.stages import interior_stages, plan_of
from qpcore.status import Status
from qpcore.trace import Trace

# From so many variables and equations on a single problem is solved and differentiated by itself,
# as floats, and not in a pack that copies of it fill up. Measured by the interior-point method,
# microseconds of a call with n = m, alone and in a pack: 174 and 191 at 10, 213 and 283 at 24, 340
# and 653 at 50, 1118 and 4000 at 100; of a gradient at 100, 190 and 460. Smaller ones keep the bits
# that they have in a batch.
LEAST_ALONE = 24


def solve_problem(
    problem: Problem,
    settings: Settings,
    device: str = "cpu",
    alone: bool = False,
    keep: bool = False,
) -> Solution:
    """Solve a batch of NumPy arrays that was checked; statuses say how each problem ended.

    `alone`: there is one problem, and it need not have the bits that it has in a larger batch.
    `keep`: factors of packs are worth keeping for derivatives.
    """
    data, doubtful, saved, form = data_of(problem), None, None, problem.form
    if device == "cuda":
        gpu, stages = devices.gpu_driver(), interior_stages(problem.dtype, settings)
        result = gpu.solve(data, sizes_of(problem), stages, bool(settings.trace))
    else:
        alone = alone and form.n + form.p >= LEAST_ALONE
        sizes, stages, way, iterates = plan_of(problem, settings, alone)
        make = maker_of_room(form, stages[0].sought, alone, keep)
        saved = make() if make and not iterates else None
        threads, result = threads_for(problem, settings), room_for(form, iterates)
        if not cpu.solve_into(result, data, sizes, stages, threads, alone, saved, way):
            doubtful = take_doubt(result.status)
    x, z, y, z_box, status, iterations = in_batch(result, form.batch_shape)
    solution = made(
        Solution,
        {
            "x": x,
            "z": z,
            "y": y,
            "z_box": z_box,
            "status": status,
            "iterations": iterations,
            "problem": problem,
            "settings": settings,
            "trace": trace_of(result, form.batch_shape) if settings.trace else None,
            "device": device,
            "saved": saved,
        },
    )
    if device == "cuda" or doubtful is not None:
        take_back(solution, doubtful)
    return solution


@lru_cache(maxsize=256)
def maker_of_room(
    form: Form, sought: int, alone: bool, keep: bool
) -> Callable[[], Saved | Kept] | None:
    """What makes room where a first stage in the dual form leaves its factors, if that pays.

    Problems by themselves keep their workspaces, which costs nothing, packs their factors where the
    caller says so.
    """
    if sought != DUAL:
        return None
    n, m, p, rows = sizes_in(form)[:4]
    large, count = cpu.are_large(n, p), form.batch_size
    if alone or (large and not shares_matrices(form)):
        size = elements_of_dual(n, m, p, rows)
        fits = form.dtype == F64 and F64.itemsize * count * size <= rooms.MOST_SAVED
        return partial(Saved, count, size, F64) if fits else None
    if not keep or large or (count > 1 and shares_matrices(form)):
        return None
    size, slots = elements_of_whole(n, m, p), lanes_of(F64)
    groups = -(-count // slots)
    fits = F64.itemsize * groups * size * slots <= rooms.MOST_KEPT
    return partial(Kept, groups, size, F64, slots) if fits else None


def shares_matrices(form: Form) -> bool:
    """Whether all problems of the batch have the same Q, G and A."""
    return all(form.flat(name)[0] == 1 for name in "QGA" if name in form)


def take_doubt(status: np.ndarray) -> np.ndarray | None:
    """Make SOLVED of IN_DOUBT; (B,) bool, where that was so, None for nowhere."""
    doubtful = status == IN_DOUBT
    if not np.count_nonzero(doubtful):
        return None
    status[doubtful] = Status.SOLVED
    return doubtful


def threads_for(problem: Problem, settings: Settings) -> int:
    """How many threads to use; a single problem does not ask, which takes four microseconds."""
    return settings.thread_count() if problem.form.batch_size > 1 else 1


def solve_there(given: dict[str, Any], settings: Settings) -> Solution:
    """Solve CUDA arrays where they lie.

    Raises
    ------
    ProblemError
        The arrays make no QP, or the settings ask for what needs them on the host.
    """
    closest = settings.infeasible == "closest"
    for asked, setting in ((settings.trace, "trace=True"), (closest, "infeasible='closest'")):
        if asked:
            raise ProblemError(
                f"Settings({setting}) needs NumPy arrays: copy them, and leave the work to the GPU "
                "with device='cuda'."
            )
    gpu = devices.gpu_driver()
    problem = problem_of(given)
    found = there.solve(gpu, problem, sizes_of(problem), settings)
    return Solution(**found, problem=problem, settings=settings, device="cuda")


def trace_of(result: Result, batch: tuple[int, ...]) -> Trace:
    """The solver's notes up to the last iterate of the batch, one array for each kind."""
    reached = int(result.iterations.max(initial=0)) + 1
    kinds = np.moveaxis(result.trace[:, :reached], -1, 0)
    return Trace(*(np.ascontiguousarray(notes).reshape(*batch, reached) for notes in kinds))
