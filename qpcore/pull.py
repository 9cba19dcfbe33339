"""Gradients of a batch, part by part: beside them, memory does not grow with the batch."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np

from qpcore.gradients import add_gradients, lead_of, room_for
from qpcore.kernels.transfer import Vectors
from qpcore.linearise import linearise
from qpcore.problem import CORE_AXES
from qpcore.promise import part_of
from qpcore.settings import Untrusted
from qpcore.solution import Solution, Trust

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
    gradients, threads = room_for(solution.problem, wanted), solution.settings.thread_count()

    def pull(some: Solution, right: Vectors, views: dict[str, np.ndarray]) -> Trust:
        linear = linearise(some, right)
        add_gradients(views, some.problem, linear.at, linear.found, linear.upper, threads)
        return linear.trust

    parts = parts_of(solution, wanted)
    if len(parts) == 1:
        return gradients, pull(solution, right, gradients)
    trust = unknown(solution)
    for part in parts:
        views = {k: view(solution, k, v, part) for k, v in gradients.items()}
        found = pull(given_part(solution, part), Vectors(*(v[part] for v in right)), views)
        for name, whole in vars(trust).items():
            whole[part] = getattr(found, name)
    return gradients, trust


def parts_of(solution: Solution, wanted: frozenset[str]) -> list[slice]:
    """Consecutive problems; all of them where vectors are little beside what they are made into.

    That is so if problems have matrices of their own. Those that share one along some axes only
    stay together, and so do those that one error message is to count.
    """
    problem = solution.problem
    count, n, m, p = problem.batch_size, problem.n, problem.m, problem.p
    shares = {name: math.prod(lead_of(problem, name)) for name in wanted}
    own = any(shares[name] > 1 for name in wanted if len(CORE_AXES[name]) == 2)
    mixed = any(share not in (1, count) for share in shares.values())
    step = count
    if not (own or mixed or solution.settings.untrusted is Untrusted.RAISE):
        step = min(count, max(1, AT_A_TIME // (ALIVE * (2 * n + m + p))))
    starts = range(0, count, step) if count else (0,)
    return [slice(start, min(start + step, count)) for start in starts]


def given_part(solution: Solution, part: slice) -> Solution:
    """Some problems of a batch, with the arguments as they were given, in one batch axis."""
    whole, some = solution.problem, part_of(solution, part)
    shapes = {}
    for name, shape in whole.given_shapes.items():
        core, own = core_of(solution, name), math.prod(lead_of(whole, name)) > 1
        shapes[name] = (part.stop - part.start, *core) if own and shape else core
    return replace(some, problem=replace(some.problem, given_shapes=shapes))


def view(solution: Solution, name: str, gradient: np.ndarray, part: slice) -> np.ndarray:
    """The part of a gradient that belongs to some problems: all of it if they share it."""
    own = math.prod(lead_of(solution.problem, name)) > 1
    flat = gradient.reshape(-1, *core_of(solution, name)) if gradient.ndim else gradient
    return flat[part] if own else flat.reshape(core_of(solution, name))


def core_of(solution: Solution, name: str) -> tuple[int, ...]:
    """The shape of an argument without its batch axes."""
    return solution.problem.given_shapes[name][len(lead_of(solution.problem, name)) :]


def unknown(solution: Solution) -> Trust:
    """Room for the certificates of a batch."""
    count, dtype = solution.problem.batch_size, solution.problem.dtype
    numbers = (np.empty(count, dtype) for _ in range(len(fields(Trust)) - 1))
    return Trust(*numbers, trusted=np.empty(count, bool))
