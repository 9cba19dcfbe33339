"""What a solve does one after the other, and with what numbers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qpcore.cpu import MOST_IN_PACKS
from qpcore.kernels.certificate import ACTIVE_SET, COLD, DESCENT_RAY, DUAL, FARKAS_RAY, MINIMUM
from qpcore.kernels.ipm import REAL, WHOLE, Parameters
from qpcore.problem import Problem
from qpcore.settings import Settings

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
# infeasible ones, which it cannot solve. The last ones are for the hardest of the Netlib and
# Maros-Meszaros sets (perold needs the sixth, finnis the eighth), for boxes far smaller than the
# minimiser without them, which start off-centre before (the seventh), and for equations at an angle
# of 1e-6 (the ninth).
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
        {"leave": 15, "pull": 1e2},
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

# What precision="mixed" puts before the stages of float64: a guess in float32, and the active set
# method on the problems that have one, twice, so that what is left is packed anew (18).
GUESS = {"tol": 1e-4, "rho": 1e-5, "delta": 1e-5, "floor": 1e-6, "convexity": 1.0, "careful": 0}
GUESS |= {"leave": 5, "patience": 0}
ACTIVE = {"sought": ACTIVE_SET, "rho": 1e-8, "delta": 1e-8}
MIXED = (ACTIVE | {"steps": 1}, ACTIVE | {"steps": 4})

# What comes first for problems that have no bounds, and no more rows than so many times their
# variables (19). Measured on the paper's profile, time of the interior-point method over this: n =
# 100, m = 50: 4.2, 100: 2.5, 125: 1.8, 150: 1.0, 200: 0.5; with p = 30 and m = 100: 1.5, 125: 0.6.
MOST_ROWS = 1.3
IN_DUAL = {"sought": DUAL, "delta": 1e-10, "convexity": 1.0, "steps": 20}

FROM_COLD = {"sought": COLD, "pull": 1.0, "steps": 20, "leave": 3}

# Primal and dual residuals of so many times the tolerance are aimed at in absolute terms, as long
# as that halves them within so many iterations (5).
REACH, PATIENCE = 100.0, 2

# The best iterate is kept from this iteration on, which most problems do not reach.
KEEP = 8

# Share of the tolerance that the kernels aim at: they round the residuals that they compare, and
# SOLVED is a promise about the residuals in float64.
MARGIN = {F64: 0.9, F32: 0.8}

# Share of the way to the boundary that a step takes.
SHORTEN = 0.999


def parameters_of(
    problem: Problem, settings: Settings, alone: bool = False
) -> tuple[Parameters, ...]:
    """Settings and constants of every stage, in the dtype of the data."""
    if has_few_rows(problem):
        return dual_stages(problem.dtype, settings.tolerance(problem.dtype), int(settings.max_iterations))
    if has_bounds_alone(problem):
        return cold_stages(problem.dtype, settings.tolerance(problem.dtype), int(settings.max_iterations))
    mixed = settings.precision == "mixed" and problem.dtype == F64
    if mixed and not alone and problem.n + problem.p <= MOST_IN_PACKS:  # beyond, float32 is no faster (18)
        return mixed_stages(settings.tolerance(F64), int(settings.max_iterations))
    return double_stages(problem.dtype, settings)


def double_stages(dtype: np.dtype, settings: Settings) -> tuple[Parameters, ...]:
    """The same, all in the dtype of the data, whatever the precision that was asked for."""
    return stages_of(dtype, settings.tolerance(dtype), int(settings.max_iterations))


def has_few_rows(problem: Problem) -> bool:
    """Whether the dual form is worth a try: no bounds, and no more rows than variables."""
    free = problem.lb is None and problem.ub is None
    few = problem.m + problem.p <= MOST_ROWS * problem.n
    return problem.dtype == F64 and free and few and problem.m > 0


def has_bounds_alone(problem: Problem) -> bool:
    """Whether nothing but bounds, and at most a budget beside one-sided ones, holds x."""
    one_sided = (problem.lb is None) != (problem.ub is None)
    boxed = problem.lb is not None or problem.ub is not None
    alone = problem.p == 0 or (problem.p == 1 and one_sided)
    return problem.dtype == F64 and boxed and problem.m == 0 and alone


@lru_cache(maxsize=64)
def cold_stages(dtype: np.dtype, tol: float, most: int) -> tuple[Parameters, ...]:
    """The dual form, then all the others."""
    return in_full(dtype, tol, most, FROM_COLD), *stages_of(dtype, tol, most)


@lru_cache(maxsize=64)
def dual_stages(dtype: np.dtype, tol: float, most: int) -> tuple[Parameters, ...]:
    """The dual form, then all the others."""
    return in_full(dtype, tol, most, IN_DUAL), *stages_of(dtype, tol, most)


@lru_cache(maxsize=64)
def mixed_stages(tol: float, most: int) -> tuple[Parameters, ...]:
    """A guess in float32, the active set method, then all that float64 has for the others."""
    guess = in_full(F32, tol, most, GUESS)
    return guess, *(in_full(F64, tol, most, stage) for stage in MIXED + STAGES[F64])


@lru_cache(maxsize=64)
def stages_of(dtype: np.dtype, tol: float, most: int) -> tuple[Parameters, ...]:
    """Every stage in full."""
    return tuple(in_full(dtype, tol, most, stage) for stage in STAGES[dtype])


def in_full(dtype: np.dtype, tol: float, most: int, stage: dict) -> Parameters:
    """All numbers of a stage that says where it differs from the others."""
    common = PRECISION[dtype] | {"shorten": SHORTEN, "reach": REACH, "patience": PATIENCE}
    common |= {"sought": MINIMUM, "max_iterations": most, "steps": most, "leave": most}
    common |= {
        "tol": MARGIN[dtype] * tol,
        "keep": KEEP if most > 3 * KEEP else 0,
        "stiff": 1e5,
        "pull": 1.0,
    }
    numbers = common | stage
    whole = {name: int(numbers[name]) for name in WHOLE}
    return Parameters(**whole, **{name: dtype.type(numbers[name]) for name in REAL})
