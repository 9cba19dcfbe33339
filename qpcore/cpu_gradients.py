"""The CPU driver's gradients: adjoint systems over threads, and what they are multiplied into."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from qpcore.compilation import call
from qpcore.cpu import contiguous, cost, kind_of, slots_for
from qpcore.crew import Workspaces
from qpcore.gradient_loops import (
    differentiate_duals,
    differentiate_range,
    differentiate_sifted,
    differentiate_wholes,
    outer_products,
)
from qpcore.kernels.adjoint import Derivative, Rules
from qpcore.kernels.by_factor import elements_of_room
from qpcore.kernels.outer import Own
from qpcore.kernels.sift import LEAST_SIFTED
from qpcore.kernels.transfer import Vectors
from qpcore.kernels.whole import Whole
from qpcore.kernels.workspace import CERTIFIED, Data, Sizes, elements, elements_of_dual
from qpcore.rooms import (
    empty_derivative,
    memory_of,
    own_in,
    room_for_sifted,
    shift_of,
)
from qpcore.threads import run

# What work takes, roughly, to decide whether threads are woken for it: an adjoint beside a solve,
# one in the dual form with a factor that is there already, and microseconds for an entry of an
# outer product.
ADJOINT, FACTORED, OUTER = 0.25, 0.05, 2e-4

# Outer products of so many entries are handed to a thread at once.
PART = 20_000

# What makes a multiple of a sum of two outer products.
Factors = namedtuple("Factors", "scale a b c d")


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

    Gradients of what each problem has for itself are written to `own`. Data are contiguous arrays,
    here and in what follows.
    """
    batch, dtype = data.entry.shape[1], data.Q.dtype
    own = own or own_in({}, dtype)
    answer, cotangents = contiguous(answer, dtype), contiguous(once(cotangents), dtype)
    slots, sifted, numbers, microseconds, name = way_of(sizes, dtype, bool(rules.mu > 0), alone)
    derivative = empty_derivative(batch, sizes, dtype)

    def work(workers: int, *crew: Any) -> None:
        memory = memory_of(numbers, dtype, slots, workers)
        given = data, answer, cotangents, derivative, own, memory
        if sifted:
            room = room_for_sifted(sizes, dtype, slots, workers)
            call(differentiate_sifted, name, *given, room, sizes, rules, *crew)
        else:
            call(differentiate_range, name, *given, sizes, rules, *crew)

    groups = -(-batch // slots)
    if groups > 1:  # else nobody asks how long it takes
        written = own.Q[:1].size + own.G[:1].size + own.A[:1].size
        microseconds += OUTER * slots * written
    run(name, work, groups, threads, microseconds)
    return derivative


class Way(NamedTuple):
    """How adjoint systems of a size are solved."""

    slots: int
    sifted: bool
    """Whether rows of G that do not bind are left out."""
    numbers: int
    """How many numbers a slot takes in the workspace."""
    microseconds: float
    """What a group of problems takes, roughly."""
    name: tuple[Any, ...]
    """What is compiled for it, in words."""


@lru_cache(maxsize=256)
def way_of(sizes: Sizes, dtype: np.dtype, relaxed: bool, alone: bool) -> Way:
    """How adjoint systems of a size are solved; kept."""
    slots = 1 if alone else slots_for(sizes, dtype)
    sifted = sizes.m >= LEAST_SIFTED and not relaxed
    name = "gradients", sifted, kind_of(dtype, slots)
    return Way(slots, sifted, elements(*sizes[:4], 0), ADJOINT * cost(sizes), name)


def adjoint_of_duals(
    data: Data,
    sizes: Sizes,
    rules: Rules,
    answer: Vectors,
    cotangents: Vectors,
    threads: int,
    own: Own | None = None,
    saved: Workspaces | None = None,
) -> tuple[Derivative, np.ndarray]:
    """The same in the dual form, one problem at a time, and where there is one: (batch,) bool.

    What matrices need is in the workspaces `saved`, which nobody else uses meanwhile; or it is made
    once by each thread, for matrices that all problems share. `rules` have the regularisation of
    that.
    """
    batch, dtype = data.entry.shape[1], data.Q.dtype
    own = own or own_in({}, dtype)
    answer, cotangents = contiguous(answer, dtype), contiguous(once(cotangents), dtype)
    derivative, done = empty_derivative(batch, sizes, dtype), np.empty(batch, bool)
    name = "gradients in the dual form", kind_of(dtype, 1)

    def work(workers: int, *crew: Any) -> None:
        size = elements_of_dual(*sizes[:4])
        memory = saved or memory_of(size, dtype, 1, workers)
        given = data, answer, cotangents, derivative, own, memory, done
        call(differentiate_duals, name, *given, sizes, rules, *crew)

    run(name, work, batch, threads, FACTORED * cost(sizes))
    return derivative, done


def adjoint_of_kept(
    sizes: Sizes,
    rules: Rules,
    answer: Vectors,
    cotangents: Vectors,
    threads: int,
    own: Own | None,
    factors: Whole,
) -> tuple[Derivative, np.ndarray]:
    """The same of packs by the factors that their solve has kept, and where these serve.

    The answer stays as it is, and the gradient of q is the adjoint's x.
    """
    groups, slots, dtype = len(factors.begins) - 1, factors.packs.shape[1], factors.packs.dtype
    own = own or own_in({}, dtype)
    answer, cotangents = contiguous(answer, dtype), contiguous(once(cotangents), dtype)
    batch = len(answer.x)
    x = own.q if len(own.q) else np.empty((batch, sizes.n), dtype)  # which is its gradient
    adjoint = Vectors(x, *[np.empty(part.shape, dtype) for part in answer[1:]])
    certificate, done = np.empty((CERTIFIED, batch), dtype), np.empty(batch, bool)
    derivative = Derivative(adjoint, answer, certificate)
    name = "gradients by kept factors", kind_of(dtype, slots)

    def work(workers: int, *crew: Any) -> None:
        memory = memory_of(elements_of_room(*sizes[:3]), dtype, slots, workers)
        given = cotangents, derivative, own, factors, memory, done
        call(differentiate_wholes, name, *given, sizes, rules, *crew)

    written = OUTER * slots * (own.Q[:1].size + own.G[:1].size + own.A[:1].size)
    run(name, work, groups, threads, FACTORED * cost(sizes) + written)
    return Derivative(adjoint, answer, certificate.T), done


def once(vectors: Vectors) -> Vectors:
    """One row of what is spread over the batch, which the loops take for all that are missing."""
    if len(vectors.x) == 1:
        return vectors
    return Vectors._make([v[:1] if len(v) > 1 and v.strides[0] == 0 else v for v in vectors])


def outer(products: Sequence[tuple[np.ndarray, Factors]], threads: int) -> None:
    """out = scale (a bᵀ + c dᵀ) for each row of (batch, ·) arrays, for each pair (out, factors)."""
    for out, (scale, *vectors) in products:
        name, entries = ("outer products", out.dtype), max(1, out.shape[1] * out.shape[2])
        vectors = [np.ascontiguousarray(vector, out.dtype) for vector in vectors]
        size = max(1, PART // entries)
        job = out, out.dtype.type(scale), *vectors, shift_of(out), size

        def work(_: int, *crew: Any, name: tuple = name, job: tuple = job) -> None:
            call(outer_products, name, *job, *crew)

        run(name, work, -(-len(out) // size), threads, OUTER * size * entries)
