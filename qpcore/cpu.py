"""The CPU driver: packs of problems over threads. Plain arrays in, plain arrays out."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from qpcore.compilation import announced, call
from qpcore.kernels.adjoint import Derivative, Rules
from qpcore.kernels.certificate import ACTIVE_SET, COLD, DUAL, GUESSED, RUNNING, is_left_to
from qpcore.kernels.doubt import IN_DOUBT
from qpcore.kernels.exact import VECTORS, Exact
from qpcore.kernels.ipm import Parameters
from qpcore.kernels.outer import Own
from qpcore.kernels.pack import lanes_of
from qpcore.kernels.sift import LEAST_SIFTED
from qpcore.kernels.transfer import (
    Result,
    Vectors,
)
from qpcore.kernels.workspace import (
    Data,
    Sizes,
    elements,
    elements_of_dual,
)
from qpcore.loops import (
    differentiate_range,
    differentiate_sifted,
    measure_range,
    outer_products,
    relax_range,
    solve_active_sets,
    solve_duals,
    solve_range,
)
from qpcore.rooms import (
    empty_derivative,
    empty_result,
    memory_for,
    memory_of,
    own_in,
    room_for_sifted,
    shift_of,
)
from qpcore.status import Status
from qpcore.threads import share

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
# methods and an adjoint take beside it; and microseconds for an entry of a matrix that is measured,
# and of an outer product.
ENTRY, ITERATIONS, QUICK, ADJOINT, MEASURE, OUTER = 0.2, 10, 0.2, 0.25, 1e-3, 2e-4

# Outer products of so many entries are handed to a thread at once.
PART = 20_000

# What makes a multiple of a sum of two outer products.
Factors = namedtuple("Factors", "scale a b c d")


def solve(
    data: Data,
    sizes: Sizes,
    stages: Sequence[Parameters],
    threads: int,
    trace: bool = False,
    alone: bool = False,
) -> Result:
    """Solve a batch; with `trace`, note every iterate; `alone`, each problem by itself.

    What a stage leaves undecided goes on to the
    next one, packed anew: a few hard problems in a batch cost no more than they would by
    themselves. Some statuses are IN_DOUBT: SOLVED, if rounding has not fooled the kernels. Data are
    contiguous arrays, as `handover.data_of` makes them, here and in what follows.
    """
    batch, traced = data.entry.shape[1], stages[0].max_iterations + 1 if trace else 0
    result = empty_result(batch, sizes, data.Q.dtype, traced)
    result.status.fill(RUNNING)
    result.iterations.fill(0)
    solve_stage(data, result, sizes, stages[0], threads, alone)
    if np.count_nonzero(result.status):  # not all SOLVED, which is zero
        solve_rest(data, result, sizes, stages[1:], threads, alone)
    return result


def solve_rest(
    data: Data,
    result: Result,
    sizes: Sizes,
    stages: Sequence[Parameters],
    threads: int,
    alone: bool,
) -> None:
    """Take what the first stage left through the others, in place."""
    for stage in stages:
        if result.status.min(initial=0) >= 0:
            return
        pending = np.flatnonzero(is_left_to(stage.sought, result.status))
        if len(pending) == len(result.status):
            solve_stage(data, result, sizes, stage, threads, alone)
        elif len(pending):
            part = Result(*(array[pending] for array in result))
            chosen = contiguous(data._replace(entry=data.entry[:, pending]))
            solve_stage(chosen, part, sizes, stage, threads, alone)
            for whole, piece in zip(result, part, strict=True):
                whole[pending] = piece
    result.status[result.status < 0] = NUMERICAL_ERROR


def solve_stage(
    data: Data,
    result: Result,
    sizes: Sizes,
    stage: Parameters,
    threads: int,
    alone: bool = False,
) -> None:
    """Take all problems through one stage, in place; it computes in the dtype of its tolerance."""
    batch, kind, traced = len(result.status), type(stage.tol), result.trace.shape[1]
    way = way_of(sizes, stage.sought, stage.steps, kind, data.Q.dtype.type, traced, alone)
    slots, dtype = way.slots, way.dtype

    def work(workers: int, *crew: Any) -> None:
        memory = memory_of(way.numbers, dtype, slots, workers)
        call(way.solver, way.name, data, result, memory, sizes, stage, *crew)

    with announced(way.name):
        share(work, -(-batch // slots), threads, way.microseconds)
    if dtype.itemsize < data.Q.itemsize:  # what float32 says of float64 data is a guess
        found, spent = np.isin(result.status, ANSWERED), result.status == MAX_ITERATIONS
        result.status[:] = np.where(spent, MAX_ITERATIONS, np.where(found, GUESSED, RUNNING))


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
    return Way(solver, dtype, slots, numbers, share * cost(sizes), name)


def adjoint(
    data: Data,
    sizes: Sizes,
    rules: Rules,
    answer: Vectors,
    cotangents: Vectors,
    threads: int,
    alone: bool = False,
    own: Own | None = None,
) -> Derivative:
    """Solve the adjoint system of every problem of a batch; `alone`, each by itself.

    Gradients of what each problem has for itself are written to `own`.
    """
    batch, dtype = data.entry.shape[1], data.Q.dtype
    own = own or own_in({}, dtype)
    answer, cotangents = contiguous(answer, dtype), contiguous(once(cotangents), dtype)
    slots = 1 if alone else slots_for(sizes, dtype)
    derivative = empty_derivative(batch, sizes, dtype)
    sifted = sizes.m >= LEAST_SIFTED and not rules.mu > 0
    name = "gradients", sifted, kind_of(dtype, slots)

    def work(workers: int, *crew: Any) -> None:
        memory = memory_for(sizes, dtype, slots, workers, traced=1)  # a row for the certificate
        given = data, answer, cotangents, derivative, own, memory
        if sifted:
            room = room_for_sifted(sizes, dtype, slots, workers)
            call(differentiate_sifted, name, *given, room, sizes, rules, *crew)
        else:
            call(differentiate_range, name, *given, sizes, rules, *crew)

    with announced(name):
        written = OUTER * slots * (own.Q[:1].size + own.G[:1].size + own.A[:1].size)
        share(work, -(-batch // slots), threads, ADJOINT * cost(sizes) + written)
    return derivative


def relaxed(
    data: Data, sizes: Sizes, parameters: Parameters, mu: Any, close: Any, threads: int
) -> Result:
    """The points where s z = μ; SOLVED where they were reached."""
    batch, dtype = data.entry.shape[1], data.Q.dtype
    slots = slots_for(sizes, dtype)
    result = empty_result(batch, sizes, dtype, 0)
    result.status[:], result.iterations[:] = RUNNING, 0
    name = "smooth gradients", kind_of(dtype, slots)

    def work(workers: int, *crew: Any) -> None:
        memory = memory_for(sizes, dtype, slots, workers)
        call(relax_range, name, data, result, memory, sizes, parameters, mu, close, *crew)

    with announced(name):
        share(work, -(-batch // slots), threads, cost(sizes))
    return result


def measure(data: Data, answer: Vectors, places: np.ndarray, threads: int) -> Exact:
    """Measure the answers of some problems of a batch exactly: (len(places),) float64, each."""
    answer, name = contiguous(answer, data.Q.dtype), ("measures", data.Q.dtype)
    out, n = np.empty((len(places), len(Exact._fields))), data.q.shape[1]

    def work(workers: int, *crew: Any) -> None:
        room = np.empty((workers, VECTORS, n))
        call(measure_range, name, data, answer, places, out, room, *crew)

    with announced(name):
        entries = n * (n + data.G.shape[1] + data.A.shape[1])
        share(work, len(places), threads, MEASURE * entries)
    return Exact(*out.T)


def slots_for(sizes: Sizes, dtype: np.dtype) -> int:
    """How many problems are solved side by side: a pack of small ones, a large one by itself.

    The size alone decides, so that a problem has the same bits in every batch of two or more; a
    single problem may be solved by itself too, which the caller of `solve` says.
    """
    return lanes_of(dtype) if sizes.n + sizes.p <= MOST_IN_PACKS else 1


def cost(sizes: Sizes) -> float:
    """Microseconds that it takes to solve the problems of a group, roughly."""
    size = sizes.n + sizes.p
    return ENTRY * size * (size + sizes.rows)


def kind_of(dtype: np.dtype, slots: int) -> str:
    """What the code was compiled for, in words."""
    return KINDS[dtype.char, slots > 1]


def once(vectors: Vectors) -> Vectors:
    """One row of what is spread over the batch, which the loops take for all that are missing."""
    return Vectors._make([v[:1] if len(v) > 1 and v.strides[0] == 0 else v for v in vectors])


def contiguous(arrays: Any, dtype: np.dtype | None = None) -> Any:
    """The same arrays, contiguous and of a dtype, as compiled code takes them."""
    return type(arrays)._make([np.ascontiguousarray(array, dtype) for array in arrays])


def outer(products: Sequence[tuple[np.ndarray, Factors]], threads: int) -> None:
    """out = scale (a bᵀ + c dᵀ) for each row of (batch, ·) arrays, for each pair (out, factors)."""
    for out, (scale, *vectors) in products:
        name, entries = ("outer products", out.dtype), max(1, out.shape[1] * out.shape[2])
        vectors = [np.ascontiguousarray(vector, out.dtype) for vector in vectors]
        size = max(1, PART // entries)
        job = out, out.dtype.type(scale), *vectors, shift_of(out), size

        def work(_: int, *crew: Any, name: tuple = name, job: tuple = job) -> None:
            call(outer_products, name, *job, *crew)

        with announced(name):
            share(work, -(-len(out) // size), threads, OUTER * size * entries)
