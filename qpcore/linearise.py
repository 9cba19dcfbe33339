"""The linear system at the answer (13), solved for any right-hand side."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qpcore import cpu, cpu_gradients, devices
from qpcore.arguments import CORE_AXES
from qpcore.crew import Workspaces
from qpcore.handover import data_of, sizes_of
from qpcore.kernels.adjoint import Derivative as Found
from qpcore.kernels.adjoint import Rules
from qpcore.kernels.outer import Own
from qpcore.kernels.transfer import Vectors
from qpcore.kernels.whole import Whole
from qpcore.kernels.workspace import Certificate
from qpcore.linear import (
    F64,
    UNASKED,
    UNDOUBTED,
    Linear,
    rules_of,
    sides,
    touches,
    without_absent_box,
)
from qpcore.rooms import Kept, Saved, own_in
from qpcore.settings import Settings, Untrusted
from qpcore.solution import Solution
from qpcore.solving import LEAST_ALONE, shares_matrices, threads_for
from qpcore.stages import stages_of, way_in
from qpcore.status import Status, all_solved
from qpcore.threads import NOBODY
from qpcore.untrusted import apply_policy
from qpcore.verdict import trust_of

# Beside these numbers NumPy compares arrays four times as fast as beside an enumeration.
SOLVED, MAX_ITERATIONS = int(Status.SOLVED), int(Status.MAX_ITERATIONS)


def linearise(
    solution: Solution,
    right: Vectors,
    doubtful: np.ndarray | None = None,
    alone: bool = False,
    own: Own | None = None,
    only_own: bool = False,
) -> Linear:
    """Solve the KKT system at the answer for right-hand sides of shape (batch, ·).

    If all is well, and nothing would be done if it was not, gradients are written to `own` too.
    `only_own`: nobody asks for anything else then, but how far they can be trusted.

    `alone`: there is one problem, and it need not have the bits that it has in a larger batch.
    Problems that failed have zeros if their right-hand sides are zero, else NaN. The policy of the
    settings applies to those that cannot be trusted, and to those that are `doubtful` already.
    """
    failed, leave = failures(solution), solution.settings.untrusted is Untrusted.LEAVE
    if failed is not None or not leave or solution.device == "cuda":
        own = None
    answer = without_absent_box(solution, answer_of(solution, failed))
    right_sides = without_absent_box(solution, right)
    found, written = run(solution, answer, right_sides, alone, own, only_own and own is not None)
    found, at, certificate = found
    trust = trust_of(solution, Certificate._make(np.ascontiguousarray(certificate.T)), failed)
    if written:
        return Linear(at, UNASKED, found, trust, UNDOUBTED, True)
    suspects = ~trust.trusted
    if failed is not None:
        blank = np.where(touches(right), np.nan, 0.0)[failed, None]
        for part, point in zip(found, at, strict=True):
            part[failed], point[failed] = blank, 0
        suspects &= ~failed
    suspects = suspects if doubtful is None else suspects | doubtful
    linear = Linear(at, sides(at), found, trust, suspects)
    return apply_policy(solution, linear, right)


def run(
    solution: Solution,
    answer: Vectors,
    right: Vectors,
    alone: bool,
    own: Own | None,
    only_own: bool,
) -> tuple[Found, bool]:
    """The driver, on the problems of a solution, where they were solved; whether it wrote `own`."""
    problem, saved = solution.problem, solution.saved
    if isinstance(saved, Kept) and saved.factors is not None:
        return run_kept(solution, answer, right, own, only_own, saved.factors)
    if isinstance(saved, Saved):
        memory = saved.workspaces()
        if memory:
            with saved.lock:
                return run_dual(solution, answer, right, own, memory)
    rules = rules_of(problem.dtype)
    arguments = data_of(problem), sizes_of(problem), rules, answer, right
    if solution.device == "cuda":
        return devices.gpu_driver().adjoint(*arguments), False
    alone = alone and problem.n + problem.p >= LEAST_ALONE
    if needs_one_factor(solution, alone):
        return run_dual(solution, answer, right, own)
    threads = threads_for(problem, solution.settings)
    return cpu_gradients.adjoint(*arguments, threads, alone, own), own is not None


def needs_one_factor(solution: Solution, alone: bool) -> bool:
    """Whether problems, one at a time, have a dual form, and the same matrices."""
    problem = solution.problem
    if not (alone or cpu.are_large(problem.n, problem.p)) or problem.dtype != F64:
        return False
    return way_in(problem, solution.settings, alone) == "dual" and shares_matrices(problem.form)


def run_dual(
    solution: Solution,
    answer: Vectors,
    right: Vectors,
    own: Own | None,
    memory: Workspaces | None = None,
) -> tuple[Found, bool]:
    """In the dual form, with the factors in memory; where Q has no inverse, condensed."""
    problem, rules = solution.problem, rules_of_dual(solution.problem.dtype)
    data, sizes = data_of(problem), sizes_of(problem)
    threads = threads_for(problem, solution.settings)
    found, done = cpu_gradients.adjoint_of_duals(
        data, sizes, rules, answer, right, threads, own, memory
    )
    redo(solution, found, others(done), answer, right, True, own)
    return found, own is not None


def run_kept(
    solution: Solution,
    answer: Vectors,
    right: Vectors,
    own: Own | None,
    only_own: bool,
    factors: Whole,
) -> tuple[Found, bool]:
    """By the factors of packs that the solve has kept; where they do not serve, without."""
    problem, rules = solution.problem, rules_of_dual(solution.problem.dtype)
    narrow = problem.dtype != factors.packs.dtype  # float32, whose factors are in float64
    own, only_own = (None, False) if narrow else (own, only_own)
    threads = threads_for(problem, solution.settings)
    found, done = cpu_gradients.adjoint_of_kept(
        sizes_of(problem), rules, answer, right, threads, own, factors
    )
    if narrow:
        found = in_dtype(found, problem.dtype)
    left = others(done)
    if own is None or (len(left) and not only_own):  # somebody may write to the answer
        found = found._replace(answer=Vectors._make([part.copy() for part in found.answer]))
    redo(solution, found, left, answer, right, False, own, only_own)
    return found, own is not None


def others(done: np.ndarray) -> np.ndarray:
    """Places of the problems that are not done; mostly there are none, which is seen sooner."""
    return NOBODY if np.count_nonzero(done) == len(done) else np.flatnonzero(~done)


@lru_cache(maxsize=2)
def rules_of_dual(dtype: np.dtype) -> Rules:
    """With the regularisation of a solve in the dual form, which is in float64."""
    stage = stages_of(dtype, Settings(), "dual")[0]
    rounding = F64.type(rules_of(dtype).rounding)
    return rules_of(F64)._replace(rho=stage.floor, delta=stage.delta, rounding=rounding)


def in_dtype(found: Found, dtype: np.dtype) -> Found:
    """The same in another dtype."""
    adjoint, answer = (Vectors._make([v.astype(dtype) for v in part]) for part in found[:2])
    return Found(adjoint, answer, found.certificate.astype(dtype))


def redo(
    solution: Solution,
    found: Found,
    left: np.ndarray,
    answer: Vectors,
    right: Vectors,
    alone: bool,
    own: Own | None,
    only_own: bool = False,
) -> None:
    """Replace what was found of some problems, at these places, by what their data say.

    `only_own`: nobody asks for anything but gradients in `own` and certificates.
    """
    if not len(left):
        return
    problem = solution.problem
    data = data_of(problem, left)
    answer, right = (Vectors._make([v[left] for v in vectors]) for vectors in (answer, right))
    arguments = data, sizes_of(problem), rules_of(problem.dtype), answer, right
    given = own._asdict() if own else {}
    asked = {name: out for name, out in given.items() if name in CORE_AXES and len(out)}
    room = {name: np.empty((len(left), *out.shape[1:]), out.dtype) for name, out in asked.items()}
    threads = threads_for(problem, solution.settings)
    rest = cpu_gradients.adjoint(*arguments, threads, alone, own_in(room, problem.dtype))
    found.certificate[left] = rest.certificate
    vectors = () if only_own else zip(found[:2], rest[:2], strict=True)
    for wholes, pieces in vectors:
        for whole, piece in zip(wholes, pieces, strict=True):
            whole[left] = piece
    for name, piece in room.items():
        given[name][left] = piece


def failures(solution: Solution) -> np.ndarray | None:
    """(batch,) bool, True where there is no answer to differentiate; None if that is nowhere."""
    if all_solved(solution.status):
        return None
    status = solution.status.reshape(solution.problem.batch_size)
    failed = (status != SOLVED) & (status != MAX_ITERATIONS)
    return failed if failed.any() else None


def answer_of(solution: Solution, failed: np.ndarray | None) -> Vectors:
    """x, z, y, z_box as (batch, ·) arrays, zero in failed problems."""
    parts = [solution.x, solution.z, solution.y, solution.z_box]
    if parts[0].ndim == 1:
        parts = [part[None] for part in parts]
    elif parts[0].ndim != 2:
        batch = solution.problem.batch_size
        parts = [part.reshape(batch, part.shape[-1]) for part in parts]
    if failed is not None:
        parts = [np.where(failed[:, None], 0, part) for part in parts]
    return Vectors._make(parts)
