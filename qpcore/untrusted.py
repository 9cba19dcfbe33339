"""What the settings ask for in problems whose derivative cannot be trusted."""

from __future__ import annotations

import numpy as np

from qpcore import cpu, cpu_gradients
from qpcore.arguments import DROPPED, NO_LIMIT
from qpcore.errors import GradientError
from qpcore.gradients import Shares
from qpcore.handover import data_of, sizes_of
from qpcore.kernels.transfer import Vectors
from qpcore.linear import F32, F64, Linear, rules_of, touches, without_absent_box
from qpcore.problem import Problem
from qpcore.settings import Untrusted
from qpcore.solution import Solution
from qpcore.stages import interior_stages
from qpcore.status import Status
from qpcore.verdict import in_batch_shape

# How far the products s z of a relaxed problem may be from mu, relative to it.
CLOSE = {F64: 1e-9, F32: 1e-4}


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
