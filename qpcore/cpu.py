"""The CPU driver: packs of problems over a pool of threads. Plain arrays in, plain arrays out.

Threads are our own and hold no lock while they compute (nogil). Numba's threading layers are not
used: one aborts under concurrent callers, another kills forked children and fights torch's pool.
"""

from __future__ import annotations

import math
import os
import threading
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from qpcore.compilation import announced, compiled
from qpcore.kernels.adjoint import add_outer_products, differentiate
from qpcore.kernels.ipm import Parameters, solve_problem
from qpcore.kernels.machine import team_of_one
from qpcore.kernels.pack import PACK_BYTES, as_packs, lanes_of
from qpcore.kernels.transfer import (
    Result,
    Vectors,
    load,
    load_cotangents,
    store,
    store_adjoint,
)
from qpcore.kernels.workspace import NOTES, Data, Sizes, carve, elements

# Chunks of packs per thread: enough to even out problems of different difficulty, few enough that
# shared matrices, loaded once a chunk, cost nothing.
CHUNKS_PER_THREAD = 4

# The vectors of a sum of two outer products.
Factors = namedtuple("Factors", "a b c d")


@compiled
def solve_packs(data, result, memory, sizes, parameters, start, stop):
    """Solve the packs start..stop of the batch."""
    team = team_of_one()
    packs = as_packs(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    slots = memory.shape[1]
    for pack in range(start, stop):
        load(work, data, sizes, pack * slots, slots, pack > start, team)
        solve_problem(work, parameters, sizes, team)
        store(result, work, sizes, pack * slots, slots, team)


@compiled
def differentiate_packs(data, answer, cotangents, adjoint, memory, sizes, parameters, start, stop):
    """Solve the adjoint systems of the packs start..stop."""
    team = team_of_one()
    packs = as_packs(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    slots = memory.shape[1]
    for pack in range(start, stop):
        load(work, data, sizes, pack * slots, slots, pack > start, team)
        load_cotangents(work, answer, cotangents, sizes, pack * slots, slots, team)
        differentiate(work, parameters, sizes, team)
        store_adjoint(adjoint, work, sizes, pack * slots, slots, team)


@compiled
def outer_products(out, a, b, c, d, start, stop):
    """Gradients of a matrix in the problems start..stop."""
    for i in range(start, stop):
        add_outer_products(out[i], a[i], b[i], c[i], d[i], team_of_one())


def solve(
    data: Data, sizes: Sizes, parameters: Parameters, threads: int, trace: bool = False
) -> Result:
    """Solve a batch; with `trace`, note every iterate."""
    data = frozen(data)
    batch, dtype = data.entry.shape[1], data.Q.dtype
    status, iterations = np.empty(batch, np.int8), np.empty(batch, np.int32)
    traced = parameters.max_iterations + 1 if trace else 0
    notes = np.empty((batch, traced, NOTES), dtype)
    result = Result(*empty_vectors(batch, sizes, dtype), status, iterations, notes)

    def work(start: int, stop: int) -> None:
        memory = memory_for(sizes, dtype, traced)
        solve_packs(data, result, memory, sizes, parameters, start, stop)

    with announced(("solve", dtype.name)):
        over_chunks(work, math.ceil(batch / lanes_of(dtype)), threads)
    return result


def adjoint(
    data: Data,
    sizes: Sizes,
    parameters: Parameters,
    answer: Vectors,
    cotangents: Vectors,
    threads: int,
) -> Vectors:
    """Solve the adjoint system of every problem of a batch."""
    data, answer, cotangents = frozen(data), frozen(answer), frozen(cotangents)
    batch, dtype = data.entry.shape[1], data.Q.dtype
    out = empty_vectors(batch, sizes, dtype)

    def work(start: int, stop: int) -> None:
        memory = memory_for(sizes, dtype)
        differentiate_packs(data, answer, cotangents, out, memory, sizes, parameters, start, stop)

    with announced(("gradients", dtype.name)):
        over_chunks(work, math.ceil(batch / lanes_of(dtype)), threads)
    return out


def empty_vectors(batch: int, sizes: Sizes, dtype: np.dtype) -> Vectors:
    """Room for x, z, y, z_box of every problem."""
    x, z, y, z_box = (
        np.empty((batch, size), dtype) for size in (sizes.n, sizes.m, sizes.p, sizes.n)
    )
    return Vectors(x, z, y, z_box)


def frozen(arrays: Any) -> Any:
    """The same arrays, contiguous and read-only: one signature, whatever the caller's flags."""
    views = []
    for array in arrays:
        view = np.ascontiguousarray(array).view()
        view.flags.writeable = False
        views.append(view)
    return type(arrays)._make(views)


def outer(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, threads: int) -> np.ndarray:
    """a bᵀ + c dᵀ for each row of (batch, ·) arrays."""
    a, b, c, d = frozen(Factors(a, b, c, d))
    out = np.empty((len(a), a.shape[1], b.shape[1]), a.dtype)

    def work(start: int, stop: int) -> None:
        outer_products(out, a, b, c, d, start, stop)

    with announced(("outer products", a.dtype.name)):
        over_chunks(work, len(a), threads)
    return out


# ---- threads -------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a pool of another size replaces them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="qpcore")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=pool.cache_clear)


def over_chunks(work: Callable[[int, int], Any], count: int, threads: int) -> None:
    """Call work(start, stop) for consecutive parts of range(count), on several threads."""
    if threads == 1 or count <= 1:
        work(0, count)
        return
    chunks = min(count, CHUNKS_PER_THREAD * threads)
    edges = [count * chunk // chunks for chunk in range(chunks + 1)]
    list(pool(threads).map(work, edges[:-1], edges[1:]))


memory = threading.local()


def memory_for(sizes: Sizes, dtype: np.dtype, traced: int = 0) -> np.ndarray:
    """Workspace of the calling thread for one pack: (elements, lanes), on a cache line, reused."""
    lanes = lanes_of(dtype)
    count = elements(sizes.n, sizes.m, sizes.p, sizes.rows, traced) * lanes
    block = getattr(memory, dtype.name, None)
    if block is None or block.size < count:
        raw = np.zeros(count + lanes, dtype)
        shift = -raw.ctypes.data % PACK_BYTES // dtype.itemsize
        block = raw[shift : shift + count]
        setattr(memory, dtype.name, block)
    return block[:count].reshape(-1, lanes)
