"""The linear system at the answer (13), what is known of it, and what to do where it is no good."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qpcore import cpu, cpu_gradients, devices
from qpcore.arrays import made
from qpcore.crew import Workspaces
from qpcore.errors import GradientError
from qpcore.gradients import Shares
from qpcore.handover import data_of, sizes_of
from qpcore.kernels.adjoint import Derivative as Found
from qpcore.kernels.adjoint import Rules
from qpcore.kernels.outer import Own
from qpcore.kernels.transfer import Vectors
from qpcore.kernels.workspace import Certificate
from qpcore.problem import DROPPED, NO_LIMIT, Problem
from qpcore.settings import Settings, Untrusted
from qpcore.solution import Solution, Trust
from qpcore.solving import LEAST_ALONE, shares_matrices, threads_for
from qpcore.stages import interior_stages, stages_of, way_in
from qpcore.status import Status

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)

# Beside these numbers NumPy compares arrays four times as fast as beside an enumeration.
SOLVED, MAX_ITERATIONS = int(Status.SOLVED), int(Status.MAX_ITERATIONS)

# rho, delta of the factor (9): refinement undoes them. A delta of 1e-8, as in a solve, puts entries
# of 1e8 into the matrix; beside a Q of condition 1e8 their rounding errors once left no pivot.
REGULARISATION = {F64: (1e-9, 1e-7), F32: (1e-3, 1e-4)}

# Residuals at which refinement rests, and what they owe to rounding, beside the largest term.
ROUNDING = {F64: (1e-12, 2e-15), F32: (1e-5, 1e-6)}

# What estimates of errors are multiplied by: they see one right-hand side, not the worst one.
SAFETY = 10.0

# Derivatives with a larger relative error are not trusted.
MOST_ERROR = {F64: 1e-3, F32: 1e-1}

# How far the products s z of a relaxed problem may be from mu, relative to it.
CLOSE = {F64: 1e-9, F32: 1e-4}


# Shares that nobody has asked for.
UNASKED = Shares(np.empty((0, 0)), np.empty((0, 0)))


class Linear(NamedTuple):
    """The solution of the KKT system of every problem, and the point where it was taken.

    Arrays are of shape (batch, ·), those of z_box (batch, 0) where the problem has no bounds.
    """

    at: Vectors
    """x, z, y, z_box: the answer, made exact by a Newton step where that is possible; zero in
    failed problems."""
    upper: Shares
    """Shares of the upper limits; where gradients are written, `sides` still has them to find."""
    found: Vectors
    """-M⁻¹ times the right-hand sides."""
    trust: Trust
    """(batch,) arrays."""
    doubtful: np.ndarray
    """(batch,) bool, where the policy of the settings applies."""
    written: bool = False
    """Whether the driver has written the gradients that it was given room for."""


def linearise(
    solution: Solution,
    right: Vectors,
    doubtful: np.ndarray | None = None,
    alone: bool = False,
    own: Own | None = None,
) -> Linear:
    """Solve the KKT system at the answer for right-hand sides of shape (batch, ·).

    If all is well, and nothing would be done if it was not, gradients are written to `own` too.

    `alone`: there is one problem, and it need not have the bits that it has in a larger batch.
    Problems that failed have zeros if their right-hand sides are zero, else NaN. The policy of the
    settings applies to those that cannot be trusted, and to those that are `doubtful` already.
    """
    failed, leave = failures(solution), solution.settings.untrusted is Untrusted.LEAVE
    if failed is not None or not leave or solution.device == "cuda":
        own = None
    answer = without_absent_box(solution, answer_of(solution, failed))
    right_sides = without_absent_box(solution, right)
    (found, at, certificate), written = run(solution, answer, right_sides, alone, own)
    trust = trust_of(solution, Certificate._make(certificate.T.copy()), failed)
    if written:
        return Linear(at, UNASKED, found, trust, ~trust.trusted, True)
    suspects = ~trust.trusted
    if failed is not None:
        blank = np.where(touches(right), np.nan, 0.0)[failed, None]
        for part, point in zip(found, at, strict=True):
            part[failed], point[failed] = blank, 0
        suspects &= ~failed
    suspects = suspects if doubtful is None else suspects | doubtful
    linear = Linear(at, sides(at), found, trust, suspects)
    return apply_policy(solution, linear, right)


def apply_policy(solution: Solution, linear: Linear, right: Vectors) -> Linear:
    """What the settings ask for in doubtful problems."""
    policy, doubtful = solution.settings.untrusted, linear.doubtful
    if policy is Untrusted.LEAVE or not doubtful.any():
        return linear
    if policy is Untrusted.SMOOTH:
        return smooth(solution, linear, right)
    touched = touches(right)
    if policy is Untrusted.RAISE:
        if (doubtful & touched).any():
            raise complaint(solution, linear, doubtful & touched)
        return linear
    for part in linear.found:
        value = np.where(touched, np.nan, 0.0) if policy is Untrusted.NAN else np.zeros(len(part))
        part[doubtful] = value[doubtful, None]
    return linear


def complaint(solution: Solution, linear: Linear, doubtful: np.ndarray) -> GradientError:
    """The error that names the problems."""
    shape, trust = solution.problem.batch_shape, linear.trust
    places = [tuple(map(int, np.unravel_index(i, shape))) for i in np.flatnonzero(doubtful)]
    listed = ", ".join(map(str, places[:10])) + (", ..." if len(places) > 10 else "")
    first = np.flatnonzero(doubtful)[0]
    return GradientError(
        f"{len(places)} of {len(doubtful)} problems have no derivative that can be trusted: index "
        f"{listed}. The first has margin {trust.margin[first]:.1e} and estimated error "
        f"{trust.error[first]:.1e}. Usual cause: a constraint that is active with multiplier zero, "
        "dependent active rows, or an objective that is flat along them. The other values of "
        "Settings.untrusted go on without raising.",
        in_batch_shape(trust, shape),
    )


def smooth(solution: Solution, linear: Linear, right: Vectors) -> Linear:
    """Replace doubtful problems by their barrier-relaxed ones (16), NaN where those failed."""
    problem, settings, chosen = solution.problem, solution.settings, linear.doubtful
    dtype, mu = problem.dtype, problem.dtype.type(settings.smoothing)
    data = data_of(problem)
    data = cpu.contiguous(data._replace(entry=data.entry[:, chosen]))
    stages = interior_stages(dtype, settings)
    stage, threads = stages[0], settings.thread_count()
    close = dtype.type(CLOSE[dtype])
    point = cpu.relaxed(data, sizes_of(problem), stage, mu, close, threads)
    answer = without_absent_box(solution, Vectors(*point[:4]))
    part = Vectors(*(v[chosen] for v in without_absent_box(solution, right)))
    rules = rules_of(dtype, settings.smoothing)
    found, _, _ = cpu_gradients.adjoint(data, sizes_of(problem), rules, answer, part, threads)
    lost = point.status != Status.SOLVED
    for whole, piece in zip(linear.found, found, strict=True):
        piece[lost] = np.nan
        whole[chosen] = piece
    for whole, piece in zip(linear.at, answer, strict=True):
        whole[chosen] = piece
    for whole, piece in zip(linear.upper, pushes(problem, answer.x, chosen), strict=True):
        whole[chosen] = piece[:, : whole.shape[1]]
    return linear


def pushes(problem: Problem, x: np.ndarray, chosen: np.ndarray) -> Shares:
    """Shares of the upper limits at points of the central path: those of z/s = mu/s² (16)."""
    rows = problem.compact("G")[problem.index("G")[chosen]] @ x[..., None]
    limits = {k: problem.compact(k)[problem.index(k)[chosen]] for k in ("h", "h_lower", "ub", "lb")}
    limits = {k: np.where(np.abs(v) < DROPPED, v, NO_LIMIT[k]) for k, v in limits.items()}
    return Shares(
        nearness(limits["h"] - rows[..., 0], rows[..., 0] - limits["h_lower"]),
        nearness(limits["ub"] - x, x - limits["lb"]),
    )


def nearness(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """1/above² as a share of 1/above² + 1/below²; a limit at infinity does not push.

    In fixed rows, where both are zero, any share will do.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = 1 / (1 + (above / below) ** 2)
    only_above = np.isfinite(above) & ~np.isfinite(below)
    return np.where(only_above, 1, np.where(np.isnan(share), 1, share)).astype(above.dtype)


def run(
    solution: Solution, answer: Vectors, right: Vectors, alone: bool, own: Own | None
) -> tuple[Found, bool]:
    """The driver, on the problems of a solution, where they were solved; whether it wrote `own`."""
    problem, rules = solution.problem, rules_of(solution.problem.dtype)
    arguments = data_of(problem), sizes_of(problem), rules, answer, right
    if solution.device == "cuda":
        return devices.gpu_driver().adjoint(*arguments), False
    saved = solution.saved
    memory = saved and saved.memory
    if memory:
        with saved.lock:
            return run_dual(solution, answer, right, own, memory)
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
    return way_in(problem, solution.settings, alone) == "dual" and shares_matrices(problem)


def run_dual(
    solution: Solution,
    answer: Vectors,
    right: Vectors,
    own: Own | None,
    memory: Workspaces | None = None,
) -> tuple[Found, bool]:
    """In the dual form, with the factors in memory; where Q has no inverse, condensed."""
    problem, dtype = solution.problem, solution.problem.dtype
    data, sizes = data_of(problem), sizes_of(problem)
    stage = stages_of(dtype, solution.settings, "dual")[0]
    rules = rules_of(dtype)._replace(rho=stage.floor, delta=stage.delta)
    threads = threads_for(problem, solution.settings)
    found, done = cpu_gradients.adjoint_of_duals(
        data, sizes, rules, answer, right, threads, own, memory
    )
    left = np.flatnonzero(~done)
    if not len(left):
        return found, own is not None
    data = cpu.contiguous(data._replace(entry=data.entry[:, left]))
    answer, right = (Vectors._make([v[left] for v in vectors]) for vectors in (answer, right))
    rest = cpu_gradients.adjoint(data, sizes, rules_of(dtype), answer, right, threads, True)
    wholes, pieces = ((*some.adjoint, *some.answer, some.certificate) for some in (found, rest))
    for whole, piece in zip(wholes, pieces, strict=True):
        whole[left] = piece
    return found, False


@lru_cache(maxsize=64)
def rules_of(dtype: np.dtype, mu: float = 0.0) -> Rules:
    """How answers in this precision are differentiated."""
    numbers = (*REGULARISATION[dtype], mu, *ROUNDING[dtype])
    return Rules._make(dtype.type(number) for number in numbers)


def trust_of(solution: Solution, certificate: Certificate, failed: np.ndarray | None) -> Trust:
    """The certificates of the batch, and the verdict."""
    dtype = solution.problem.dtype
    if failed is not None:
        certificate = Certificate(*(np.where(failed, np.nan, part) for part in certificate))
    margin, residual, condition, error = certificate
    error *= SAFETY
    trusted = (margin > least_margin(dtype, solution.settings.tol)) & (error <= MOST_ERROR[dtype])
    return made(
        Trust,
        margin=margin,
        residual=residual,
        condition=condition,
        error=error,
        trusted=trusted,
    )


@lru_cache(maxsize=64)
def least_margin(dtype: np.dtype, tol: float | None) -> float:
    """The margin that an answer within the tolerance leaves in doubt."""
    return math.sqrt(Settings(tol=tol).tolerance(dtype))


def sides(at: Vectors) -> Shares:
    """One where the multiplier belongs to the upper limit, zero where to the lower one."""
    return Shares((at.z >= 0).astype(at.z.dtype), (at.z_box >= 0).astype(at.z.dtype))


def failures(solution: Solution) -> np.ndarray | None:
    """(batch,) bool, True where there is no answer to differentiate; None if that is nowhere."""
    status = solution.status.reshape(solution.problem.batch_size)
    if not np.count_nonzero(status):  # all SOLVED, which is zero
        return None
    failed = (status != SOLVED) & (status != MAX_ITERATIONS)
    return failed if failed.any() else None


def touches(right: Vectors) -> np.ndarray:
    """(batch,) bool, True where a right-hand side is not zero."""
    return np.any([(part != 0).any(axis=1) for part in right], axis=0)


def answer_of(solution: Solution, failed: np.ndarray | None) -> Vectors:
    """x, z, y, z_box as (batch, ·) arrays, zero in failed problems."""
    parts = [solution.x, solution.z, solution.y, solution.z_box]
    if parts[0].ndim != 2:
        batch = solution.problem.batch_size
        parts = [part.reshape(batch, part.shape[-1]) for part in parts]
    if failed is not None:
        parts = [np.where(failed[:, None], 0, part) for part in parts]
    return Vectors._make(parts)


def without_absent_box(solution: Solution, vectors: Vectors) -> Vectors:
    """No room for z_box where there are no bounds."""
    problem = solution.problem
    has_box = problem.lb is not None or problem.ub is not None
    return vectors if has_box else vectors._replace(z_box=vectors.z_box[:, :0])


def in_batch_shape(trust: Trust, shape: tuple[int, ...]) -> Trust:
    """(batch,) arrays in the batch's own shape."""
    if trust.margin.shape == shape:
        return trust
    return made(Trust, **{name: part.reshape(shape) for name, part in vars(trust).items()})
