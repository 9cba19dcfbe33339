"""solve: the nouns meet the drivers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from qpcore import cpu
from qpcore.errors import ProblemError
from qpcore.kernels.certificate import DESCENT_RAY, FARKAS_RAY, MINIMUM
from qpcore.kernels.ipm import REAL, WHOLE, Parameters
from qpcore.kernels.transfer import Result
from qpcore.kernels.workspace import Data, Sizes
from qpcore.problem import Problem
from qpcore.settings import Settings
from qpcore.solution import Solution
from qpcore.status import Status
from qpcore.trace import Trace

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)

# What the dtype can resolve, as fractions of the scaled data, whose entries are near one.
# rho, delta: regularisation of variables and rows; the KKT matrix has entries up to 1/delta, whose
# rounding errors rho must cover. ray: residual of a certificate. convexity: what rounding may take
# from Q's eigenvalues. careful: refine every step from the first, else from the moment on when a
# residual grows.
PRECISION = {
    F64: {"rho": 1e-8, "delta": 1e-8, "floor": 1e-10, "ray": 1e-9, "convexity": 1e-8, "careful": 0},
    F32: {"rho": 1e-3, "delta": 1e-4, "floor": 1e-6, "ray": 1e-4, "convexity": 1e-5, "careful": 1},
}

# The stages of a solve, each for what those before left undecided: what they seek, and where they
# differ from PRECISION. Most problems see the first one only. Its `leave` is for unbounded and
# infeasible ones, which it cannot solve; the last ones are for the hardest of the Netlib and
# Maros-Meszaros sets (perold needs the sixth, finnis the eighth) and for equations at an angle of
# 1e-6 (the ninth).
FARKAS = {"sought": FARKAS_RAY, "tol": 1e-20, "rho": 1e-10, "floor": 1e-15}
DESCENT = {"sought": DESCENT_RAY, "tol": 1e-16, "steps": 60, "leave": 12}
STAGES = {
    F64: (
        {"leave": 8},
        FARKAS | {"steps": 40, "leave": 12},
        DESCENT,
        FARKAS | {"steps": 120, "leave": 60},
        DESCENT | {"stiff": 1e7},
        {"rho": 1e-9, "delta": 1e-9, "floor": 1e-11, "leave": 15},
        {"leave": 15},
        {"rho": 1e-11, "delta": 1e-11, "floor": 1e-13, "leave": 60},
        {"rho": 1e-13, "delta": 1e-15, "floor": 1e-16, "leave": 60},
    ),
    F32: (
        {"leave": 8},
        FARKAS | {"rho": 1e-6, "floor": 1e-7, "steps": 40, "leave": 12},
        DESCENT | {"tol": 1e-12, "stiff": 1e3},
        {"leave": 30},
    ),
}

# Primal and dual residuals of so many times the tolerance are aimed at in absolute terms, as long
# as that halves them within so many iterations (5).
REACH, PATIENCE = 100.0, 2

# The best iterate is kept from this iteration on, which most problems do not reach.
KEEP = 8

# Share of the tolerance that the kernels aim at: they round the residuals that they compare, and
# SOLVED is a promise about the residuals in float64.
MARGIN = {F64: 0.9, F32: 0.8}

# Answers with larger numbers than this are measured again on the data as given.
LARGE = {F64: 1e6, F32: 1e2}

# Share of the way to the boundary that a step takes.
SHORTEN = 0.999


def solve(
    Q: Any,
    q: Any,
    G: Any = None,
    h: Any = None,
    A: Any = None,
    b: Any = None,
    lb: Any = None,
    ub: Any = None,
    *,
    h_lower: Any = None,
    settings: Settings = Settings(),
    device: str | None = None,
    throw: bool = True,
) -> Solution:
    """Solve a batch of convex quadratic programs.

    Each problem of the batch reads ::

        minimise    0.5 x'Qx + q'x
        subject to  h_lower <= Gx <= h,   Ax = b,   lb <= x <= ub

    Parameters
    ----------
    Q : array_like, (*, n, n)
        Enters through its symmetric part, which must be positive semidefinite; zeros make an LP.
    q : array_like, (*, n)
    G, h : array_like, (*, m, n) and (*, m), optional
        Inequality rows and their upper limits.
    A, b : array_like, (*, p, n) and (*, p), optional
        Equality rows.
    lb, ub : array_like, (*, n), or a number for all variables, optional
        Bounds; they cost no rows. Equal bounds fix a variable.
    h_lower : array_like, (*, m), or a number for all rows, optional
        Lower limits of Gx.
    settings : Settings
        Tolerance, iteration limit, threads, trace.
    device : {None, "cpu"}
        Where to solve. This version solves on the CPU.
    throw : bool
        Raise SolveError unless every problem is SOLVED. With False, look at `Solution.status`.

    Batch axes (*) broadcast against each other. An argument without them, or with an axis of size
    1, is shared and never copied per problem. Limits that are infinite, or of magnitude 1e20 or
    more, are none. float32 data are solved in float32.

    Returns
    -------
    Solution
        Minimisers x, multipliers z, y, z_box with Qx + q + G'z + A'y + z_box = 0, a status and the
        number of iterations for each problem. A problem that is neither solved nor proved to have
        no solution holds its best iterate. One bad problem leaves the others as they are, bit for
        bit.

    Raises
    ------
    ProblemError
        Shapes or dtypes do not make a QP; values never raise.
    SolveError
        With `throw`, some problem is not SOLVED; the error carries the Solution.

    Notes
    -----
    A primal-dual interior-point method (Mehrotra's predictor-corrector, as in OptNet, Amos & Kolter
    2017, arXiv 1703.00443) with a proximal regularisation (PIQP, Schwan et al. 2023, arXiv
    2304.00290). What a quick solve leaves undecided goes through further stages: certificates of
    infeasibility, each the answer of a QP of its own, then more patient solves.
    `qpcore/derivation.md` has the equations.
    """
    if device not in (None, "cpu"):
        raise ProblemError(
            f"device is {device!r}; expected None or 'cpu'. CUDA is not in this version."
        )
    problem = Problem.parse(Q, q, G, h, A, b, lb, ub, h_lower)
    result = cpu.solve(
        data_of(problem),
        sizes_of(problem),
        parameters_of(problem, settings),
        settings.thread_count(),
        bool(settings.trace),
    )
    batch = problem.batch_shape
    x, z, y, z_box = (v.reshape(*batch, v.shape[-1]) for v in result[:4])
    status, iterations = result.status.reshape(batch), result.iterations.reshape(batch)
    trace = trace_of(result, batch) if settings.trace else None
    solution = Solution(x, z, y, z_box, status, iterations, problem, settings, trace)
    take_back(solution)
    if throw:
        solution.raise_for_status()
    return solution


def take_back(solution: Solution) -> None:
    """Make NUMERICAL_ERROR of SOLVED where rounding broke its promise.

    The kernels' residuals have the rounding errors of their terms. Beside numbers as large as LARGE
    these can exceed the tolerance, so there the measures of `Solution` have the last word.
    """
    dtype, solved = solution.problem.dtype, solution.solved
    parts = (solution.x, solution.z, solution.y, solution.z_box)
    sizes = [np.abs(part).max(axis=-1, initial=0) for part in parts]
    doubtful = solved & (np.max(sizes, axis=0) > LARGE[dtype])
    if not doubtful.any():
        return
    tol = solution.settings.tolerance(dtype)
    kept = solution.primal_residual() <= tol * (1 + solution.primal_scale())
    kept &= solution.dual_residual() <= tol * (1 + solution.dual_scale())
    kept &= solution.duality_gap() <= tol * (1 + solution.gap_scale())
    solution.status[doubtful & ~kept] = Status.NUMERICAL_ERROR


def trace_of(result: Result, batch: tuple[int, ...]) -> Trace:
    """The solver's notes up to the last iterate of the batch, one array for each kind."""
    reached = int(result.iterations.max(initial=0)) + 1
    kinds = np.moveaxis(result.trace[:, :reached], -1, 0)
    return Trace(*(np.ascontiguousarray(notes).reshape(*batch, reached) for notes in kinds))


def data_of(problem: Problem) -> Data:
    """The problem as the drivers take it."""
    names = Data._fields[:-1]
    entry = np.stack([problem.index(name) for name in names])
    return Data._make([*(problem.compact(name) for name in names), entry])


def sizes_of(problem: Problem) -> Sizes:
    """Sizes, and the ranges of rows of [G; I] that have an upper and a lower side."""
    n, m, p = problem.n, problem.m, problem.p
    has_box = problem.lb is not None or problem.ub is not None
    first = (0 if problem.h is not None else m, 0 if problem.h_lower is not None else m)
    last = (m + n * (problem.ub is not None), m + n * (problem.lb is not None))
    return Sizes(n, m, p, m + n * has_box, first, last)


def parameters_of(problem: Problem, settings: Settings) -> tuple[Parameters, ...]:
    """Settings and constants of every stage, in the dtype of the data."""
    return stages_of(problem.dtype, settings.tolerance(problem.dtype), int(settings.max_iterations))


@lru_cache(maxsize=64)
def stages_of(dtype: np.dtype, tol: float, most: int) -> tuple[Parameters, ...]:
    """Every stage in full."""
    common = PRECISION[dtype] | {"shorten": SHORTEN, "reach": REACH, "patience": PATIENCE}
    common |= {"sought": MINIMUM, "max_iterations": most, "steps": most, "leave": most}
    common |= {"tol": MARGIN[dtype] * tol, "keep": KEEP if most > 3 * KEEP else 0, "stiff": 1e5}
    stages = []
    for stage in STAGES[dtype]:
        numbers = common | stage
        whole = {name: int(numbers[name]) for name in WHOLE}
        stages.append(Parameters(**whole, **{name: dtype.type(numbers[name]) for name in REAL}))
    return tuple(stages)
