"""The CPU driver: packs of problems over threads. Plain arrays in, plain arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from qpcore.compilation import call
from qpcore.crew import Workspaces
from qpcore.kernels.certificate import (
    ACTIVE_SET,
    COLD,
    DUAL,
    GUESSED,
    MINIMUM,
    RUNNING,
    is_left_to,
)
from qpcore.kernels.doubt import IN_DOUBT
from qpcore.kernels.exact import VECTORS, Exact
from qpcore.kernels.ipm import Parameters
from qpcore.kernels.pack import lanes_of
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.whole import Whole
from qpcore.kernels.workspace import Data, Sizes, elements, elements_of_dual
from qpcore.loops import measure_range, relax_range, solve_active_sets, solve_duals, solve_range
from qpcore.rooms import Kept, Saved, empty_result, factors_in, memory_for, memory_of
from qpcore.status import Status, all_solved
from qpcore.threads import NOBODY, one_part, ready, run

SOLVED = int(Status.SOLVED)
MAX_ITERATIONS = int(Status.MAX_ITERATIONS)
ANSWERED = SOLVED, IN_DOUBT
NUMERICAL_ERROR = int(Status.NUMERICAL_ERROR)

# Problems of more variables and equations than this are solved one at a time. Measured on the
# paper's profile with n = m, 8 problems: packs take 0.65 of the time at 100 and 0.87 at 200, but
# 1.12 at 300 and 1.52 at 500; a problem without company takes an eighth or less.
MOST_IN_PACKS = 200

# What code is compiled for, in words.
KINDS = {
    ("d", True): "float64, packs",
    ("d", False): "float64, large problems",
    ("f", True): "float32, packs",
    ("f", False): "float32, large problems",
}

# What stages are done by, those that do not go by the interior-point method.
SOLVERS = {ACTIVE_SET: solve_active_sets, COLD: solve_active_sets, DUAL: solve_duals}

# What work takes, roughly, to decide whether threads are woken for it. Microseconds of a pack for
# each entry of the condensed matrix and of C, by the interior-point method: 0.18 to 0.25 on the
# paper's profile with n = m = 10, 0.12 at 30, 0.18 at 100. Iterations of a solve; what active set
# methods take beside it; and microseconds for an entry of a matrix that is measured.
ENTRY, ITERATIONS, QUICK, MEASURE = 0.2, 10, 0.2, 1e-3


def solve(
    data: Data,
    sizes: Sizes,
    stages: Sequence[Parameters],
    threads: int,
    trace: bool = False,
    alone: bool = False,
    saved: Saved | Kept | None = None,
) -> Result:
    """Solve a batch; with `trace`, note every iterate; `alone`, each problem by itself.

    What a stage leaves undecided goes on to the next one, packed anew: a few hard problems in a
    batch cost no more than they would by themselves. Some statuses are IN_DOUBT: SOLVED, if
    rounding has not fooled the kernels. Data are contiguous arrays, as `handover.data_of` makes
    them, here and in what follows. The first stage, in the dual form, leaves its
    factors in `saved`.
    """
    batch, traced = data.entry.shape[1], stages[0].max_iterations + 1 if trace else 0
    result = empty_result(batch, sizes, data.Q.dtype, traced)
    solve_into(result, data, sizes, stages, threads, alone, saved)
    return result


def solve_into(
    result: Result,
    data: Data,
    sizes: Sizes,
    stages: Sequence[Parameters],
    threads: int,
    alone: bool = False,
    saved: Saved | Kept | None = None,
    way: Way | None = None,
) -> bool:
    """The same, into room for the result; whether the first stage has solved all, without doubt.

    `way`: how that stage goes, if this is known.
    """
    solve_stage(data, result, sizes, stages[0], threads, alone, saved, way)
    if all_solved(result.status):
        return True
    solve_rest(data, result, sizes, stages[1:], threads, alone)
    return False


def solve_rest(
    data: Data,
    result: Result,
    sizes: Sizes,
    stages: Sequence[Parameters],
    threads: int,
    alone: bool,
) -> None:
    """Take what the first stage left through the others, in place.

    A last one for the active set method makes answers exact that the interior-point method gave.
    """
    last, near = None, []
    if stages and stages[-1].sought == ACTIVE_SET:
        *stages, last = stages
    for stage in stages:
        if result.status.min(initial=0) >= 0:
            break
        pending = np.flatnonzero(is_left_to(stage.sought, result.status))
        if len(pending) == len(result.status):
            solve_stage(data, result, sizes, stage, threads, alone)
        elif len(pending):
            part = solve_some(data, result, sizes, stage, threads, alone, pending)
            for whole, piece in zip(result, part, strict=True):
                whole[pending] = piece
        if stage.sought == MINIMUM:
            near.append(pending[result.status[pending] == SOLVED])
    result.status[result.status < 0] = NUMERICAL_ERROR
    near = np.concatenate([*near, NOBODY])
    if last is not None and len(near):
        part = solve_some(data, result, sizes, last, threads, alone, near, GUESSED)
        exact = part.status == SOLVED
        for whole, piece in zip(result, part, strict=True):
            whole[near[exact]] = piece[exact]


def solve_some(
    data: Data,
    result: Result,
    sizes: Sizes,
    stage: Parameters,
    threads: int,
    alone: bool,
    places: np.ndarray,
    status: int | None = None,
) -> Result:
    """What a stage finds of the problems at these places, packed anew, with this status first."""
    part = Result(*(array[places] for array in result))
    if status is not None:
        part.status.fill(status)
    chosen = contiguous(data._replace(entry=data.entry[:, places]))
    solve_stage(chosen, part, sizes, stage, threads, alone)
    return part


def solve_stage(
    data: Data,
    result: Result,
    sizes: Sizes,
    stage: Parameters,
    threads: int,
    alone: bool = False,
    saved: Saved | Kept | None = None,
    way: Way | None = None,
) -> None:
    """Take all problems through one stage, in place; it computes in the dtype of its tolerance."""
    if way is None:
        kind, traced = type(stage.tol), result.trace.shape[1]
        way = way_of(sizes, stage.sought, stage.steps, kind, data.Q.dtype.type, traced, alone)
    memory, room = None, way.room
    if saved is not None:
        memory = saved.memory if isinstance(saved, Saved) else None
        room = (factors_in(saved, way.dtype),)
    groups = -(-len(result.status) // way.slots)
    if groups == 1 and way.name in ready:  # what `share_stage` comes to
        memory = memory or memory_of(way.numbers, way.dtype, way.slots, 1)
        call(way.solver, way.name, data, result, memory, *room, sizes, stage, *one_part())
    else:
        share_stage(data, result, sizes, stage, groups, threads, memory, room, way)
    if way.guesses:
        found, spent = np.isin(result.status, ANSWERED), result.status == MAX_ITERATIONS
        result.status[:] = np.where(spent, MAX_ITERATIONS, np.where(found, GUESSED, RUNNING))


def share_stage(
    data: Data,
    result: Result,
    sizes: Sizes,
    stage: Parameters,
    groups: int,
    threads: int,
    saved: Workspaces | None,
    room: tuple[Whole, ...],
    way: Way,
) -> None:
    """Take groups through a stage, shared among threads."""

    def work(workers: int, *crew: Any) -> None:
        memory = saved or memory_of(way.numbers, way.dtype, way.slots, workers)
        call(way.solver, way.name, data, result, memory, *room, sizes, stage, *crew)

    run(way.name, work, groups, threads, way.microseconds)


class Way(NamedTuple):
    """How a stage goes over problems of a size."""

    solver: Any
    dtype: np.dtype
    slots: int
    numbers: int
    """How many numbers a slot takes in the workspace."""
    microseconds: float
    """What a group of problems takes, roughly."""
    name: tuple[Any, ...]
    """What is compiled for it, in words."""
    guesses: bool
    """Whether it finds no more than guesses: what float32 says of float64 data."""
    room: tuple[Whole, ...]
    """Where factors go that nobody keeps, if there are some."""


@lru_cache(maxsize=256)
def way_of(
    sizes: Sizes, sought: int, steps: int, kind: type, data_kind: type, traced: int, alone: bool
) -> Way:
    """How a stage that seeks this goes over problems of a size; kept, as it takes 5 microseconds.

    Numbers are of one kind in the workspace, and of another in the data.
    """
    dtype, solver = np.dtype(kind), SOLVERS.get(sought, solve_range)
    slots = 1 if alone else slots_for(sizes, dtype)
    numbers = (elements_of_dual if sought == DUAL else elements)(*sizes[:4], traced)
    share = QUICK if sought in SOLVERS else min(1.0, steps / ITERATIONS)
    name = solver.__name__, kind_of(dtype, slots), np.dtype(data_kind)
    guesses = dtype.itemsize < np.dtype(data_kind).itemsize
    room = (factors_in(None, dtype),) if sought == DUAL else ()
    return Way(solver, dtype, slots, numbers, share * cost(sizes), name, guesses, room)


def relaxed(
    data: Data, sizes: Sizes, parameters: Parameters, mu: Any, close: Any, threads: int
) -> Result:
    """The points where s z = μ; SOLVED where they were reached."""
    batch, dtype = data.entry.shape[1], data.Q.dtype
    slots = slots_for(sizes, dtype)
    result = empty_result(batch, sizes, dtype, 0)
    name = "smooth gradients", kind_of(dtype, slots)

    def work(workers: int, *crew: Any) -> None:
        memory = memory_for(sizes, dtype, slots, workers)
        call(relax_range, name, data, result, memory, sizes, parameters, mu, close, *crew)

    run(name, work, -(-batch // slots), threads, cost(sizes))
    return result


def measure(data: Data, answer: Vectors, places: np.ndarray, threads: int) -> Exact:
    """Measure the answers of some problems of a batch exactly: (len(places),) float64, each."""
    answer, name = contiguous(answer, data.Q.dtype), ("measures", data.Q.dtype)
    out, n = np.empty((len(places), len(Exact._fields))), data.q.shape[1]

    def work(workers: int, *crew: Any) -> None:
        room = np.empty((workers, VECTORS, n))
        call(measure_range, name, data, answer, places, out, room, *crew)

    entries = n * (n + data.G.shape[1] + data.A.shape[1])
    run(name, work, len(places), threads, MEASURE * entries)
    return Exact(*out.T)


def slots_for(sizes: Sizes, dtype: np.dtype) -> int:
    """How many problems are solved side by side: a pack of small ones, a large one by itself.

    The size alone decides, so that a problem has the same bits in every batch of two or more; a
    single problem may be solved by itself too, which the caller of `solve` says.
    """
    return 1 if are_large(sizes.n, sizes.p) else lanes_of(dtype)


def are_large(n: int, p: int) -> bool:
    """Whether problems of so many variables and equations are solved one at a time."""
    return n + p > MOST_IN_PACKS


def cost(sizes: Sizes) -> float:
    """Microseconds that it takes to solve the problems of a group, roughly."""
    size = sizes.n + sizes.p
    return ENTRY * size * (size + sizes.rows)


def kind_of(dtype: np.dtype, slots: int) -> str:
    """What the code was compiled for, in words."""
    return KINDS[dtype.char, slots > 1]


def contiguous(arrays: Any, dtype: np.dtype | None = None) -> Any:
    """The same arrays, contiguous and of a dtype, as compiled code takes them."""
    return type(arrays)._make([np.ascontiguousarray(array, dtype) for array in arrays])
