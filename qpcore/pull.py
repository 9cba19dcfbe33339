"""Gradients of a batch, part by part: beside them, memory does not grow with the batch."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache

import numpy as np

from qpcore.arguments import CORE_AXES
from qpcore.forms import Form
from qpcore.gradients import (
    MATRICES,
    Room,
    add_gradients,
    own_gradients,
    room_for,
    rooms_for,
    sharing,
    sharing_of,
)
from qpcore.kernels.transfer import Vectors
from qpcore.linear import sides
from qpcore.linearise import linearise
from qpcore.promise import part_of
from qpcore.rooms import own_in
from qpcore.sensitivity import Trust
from qpcore.settings import Untrusted
from qpcore.solution import Solution
from qpcore.solving import threads_for

# Numbers in the vectors of a part: a megabyte, with which a part of 100 by 100 has 130 problems.
# The 0.2 ms of Python that a part takes are less than two percent of its time.
AT_A_TIME = 1 << 17

# So many vectors of every size are alive at a time: answer, adjoint, cotangents, what becomes of
# them.
ALIVE = 5


def pull_back(
    solution: Solution, right: Vectors, wanted: frozenset[str]
) -> tuple[dict[str, np.ndarray], Trust]:
    """Gradients of those wanted, and how far they can be trusted; right sides are (batch, ·)."""
    problem, parts = solution.problem, parts_of(solution, wanted)
    rooms = rooms_for(problem, wanted)
    gradients = room_for(rooms, problem.dtype)
    if len(parts) == 1:
        return gradients, add_to(gradients, rooms, solution, right, problem.batch_size == 1)
    trust = unknown(solution)
    for part in parts:
        views = {name: view(solution, name, v, part) for name, v in gradients.items()}
        some, cotangents = given_part(solution, part), Vectors(*(v[part] for v in right))
        found = add_to(views, rooms_for(some.problem, wanted), some, cotangents)
        for name, whole in vars(trust).items():
            whole[part] = getattr(found, name)
    return gradients, trust


def add_to(
    gradients: dict[str, np.ndarray],
    rooms: tuple[Room, ...],
    solution: Solution,
    right: Vectors,
    alone: bool = False,
) -> Trust:
    """Write or add the gradients of these problems, and say how far they can be trusted."""
    problem, own = solution.problem, own_gradients(gradients, rooms)
    every, room = len(own) == len(gradients), own_in(own, problem.dtype)
    linear = linearise(solution, right, alone=alone, own=room, only_own=every)
    upper = linear.upper
    if linear.written and every:
        return linear.trust
    if linear.written:
        gradients = {name: v for name, v in gradients.items() if name not in own}
        upper = sides(linear.at)
    if gradients:
        threads = threads_for(problem, solution.settings)
        add_gradients(gradients, problem, linear.at, linear.found, upper, threads)
    return linear.trust


def parts_of(solution: Solution, wanted: frozenset[str]) -> tuple[slice, ...]:
    """Consecutive problems; all of them where vectors are little beside what they are made into.

    That is so if problems have matrices of their own. Those that share one along some axes only
    stay together, and so do those that one error message is to count.
    """
    problem, together = solution.problem, solution.settings.untrusted is Untrusted.RAISE
    return parts_of_form(problem.form, wanted, together, *problem.given_shapes.items())


@lru_cache(maxsize=256)
def parts_of_form(
    form: Form, wanted: frozenset[str], together: bool, *given: tuple[str, tuple[int, ...]]
) -> tuple[slice, ...]:
    """The same for arguments that were given in these shapes; kept."""
    count, n, m, p = form.batch_size, form.n, form.m, form.p
    step = max(1, AT_A_TIME // (ALIVE * (2 * n + m + p)))
    if count <= step or together:
        return (slice(0, count),)
    entries = {name: entries_of(shape, name, form.batch_shape) for name, shape in given}
    own = any(entries[name] > 1 for name in wanted if name in MATRICES)
    mixed = any(entries[name] not in (1, count) for name in wanted)
    if own or mixed:
        return (slice(0, count),)
    return tuple(slice(start, min(start + step, count)) for start in range(0, count, step))


def entries_of(shape: tuple[int, ...], name: str, batch: tuple[int, ...]) -> int:
    """How many entries of an argument there are along the batch axes with which it was given."""
    return sharing_of(shape, len(CORE_AXES[name]), batch).entries


def given_part(solution: Solution, part: slice) -> Solution:
    """Some problems of a batch, with the arguments as they were given, in one batch axis."""
    whole, some = solution.problem, part_of(solution, part)
    shapes = {}
    for name, shape in whole.given_shapes.items():
        lies = sharing(whole, name)
        own = lies.entries > 1 and len(shape) > 0
        shapes[name] = (part.stop - part.start, *lies.core) if own else lies.core
    return replace(some, problem=replace(some.problem, given_shapes=shapes))


def view(solution: Solution, name: str, gradient: np.ndarray, part: slice) -> np.ndarray:
    """The part of a gradient that belongs to some problems: all of it if they share it."""
    lies = sharing(solution.problem, name)
    flat = gradient.reshape(-1, *lies.core) if gradient.ndim else gradient
    return flat[part] if lies.entries > 1 else flat.reshape(lies.core)


def unknown(solution: Solution) -> Trust:
    """Room for the certificates of a batch."""
    count, dtype = solution.problem.batch_size, solution.problem.dtype
    numbers = (np.empty(count, dtype) for _ in range(len(fields(Trust)) - 1))
    return Trust(*numbers, trusted=np.empty(count, bool))
