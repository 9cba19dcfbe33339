"""What a solve does one after the other, and with what numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qpcore.cpu import MOST_IN_PACKS, Way, way_of
from qpcore.forms import Form
from qpcore.handover import sizes_in
from qpcore.kernels.certificate import ACTIVE_SET, COLD, DESCENT_RAY, DUAL, FARKAS_RAY, MINIMUM
from qpcore.kernels.doubt import CLEAR
from qpcore.kernels.ipm import REAL, WHOLE, Parameters
from qpcore.kernels.workspace import Sizes
from qpcore.problem import Problem
from qpcore.settings import Settings

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)

# What the dtype can resolve, as fractions of the scaled data, whose entries are near one.
# rho, delta: regularisation of variables and rows; the KKT matrix has entries up to 1/delta, whose
# rounding errors rho must cover. ray: residual of a certificate. convexity: what rounding may take
# from Q's eigenvalues. careful: refine every step from the first, else from the moment on when a
# residual grows. clear: see `kernels/doubt.py`.
PRECISION = {
    F64: {"rho": 1e-8, "delta": 1e-8, "floor": 1e-10, "ray": 1e-9, "convexity": 1e-8},
    F32: {"rho": 1e-3, "delta": 1e-4, "floor": 1e-6, "ray": 1e-4, "convexity": 1e-5},
}
PRECISION[F64] |= {"careful": 0, "clear": CLEAR["d"]}
PRECISION[F32] |= {"careful": 1, "clear": CLEAR["f"]}

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

# What may come before these stages; which of them, `way_in` says.
#
# dual: the active set method on the dual (19), which takes one small factor a step. For problems
# without bounds and with no more rows than MOST_ROWS times their variables: beyond, so many rows
# bind that it seldom finds them, or only after many steps. Measured on the paper's profile, time
# without over time with it: n = 100, m = 50: 4.2, 100: 2.5, 140: 1.6; p = 30, m = 110: 1.5; n = 30,
# m = 42: 1.3, 50: 0.8; n = 10, m = 10: 2.2, 13: 1.9, 16: 1.2, 20: 0.7. It computes in float64 for
# float32 data too, whose rounding it does not survive: of 128 problems with n = m = 100 float32
# left nine unsolved and took 3.4 times as long, of 8192 with n = m = 10 36, against two.
#
# bounds: the active set method from the start on (18), where bounds are all there is, or one-sided
# ones and a budget. Boxes: 1.0 to 2.5, x >= 0: 1.2 to 1.9, with a budget: 1.3 to 1.7, a box and one
# equation: 0.6 to 2.1.
#
# mixed: with precision="mixed", a guess in float32, and the active set method on the problems that
# have one, twice, so that what is left is packed anew (18).
MOST_ROWS = 1.3
GUESS = {"tol": 1e-4, "rho": 1e-5, "delta": 1e-5, "floor": 1e-6, "convexity": 1.0, "careful": 0}
GUESS |= {"leave": 5, "patience": 0}
ACTIVE = {"sought": ACTIVE_SET, "rho": 1e-8, "delta": 1e-8}
SEARCH = {"steps": 20, "leave": 6}
ROUNDED = {"clear": CLEAR["f"]}  # the answer is stored in float32
WAYS_IN = {
    F64: {
        "interior": (),
        "dual": ((F64, SEARCH | {"sought": DUAL, "delta": 1e-10, "convexity": 1.0}),),
        "bounds": ((F64, SEARCH | {"sought": COLD, "delta": 1e-10}),),
        "mixed": ((F32, GUESS), (F64, ACTIVE | {"steps": 1}), (F64, ACTIVE | {"steps": 4})),
    },
    F32: {
        "interior": (),
        "dual": ((F64, SEARCH | ROUNDED | {"sought": DUAL, "delta": 1e-10, "convexity": 1.0}),),
        "bounds": ((F32, SEARCH | {"sought": COLD, "delta": 1e-5}),),
    },
}

# What comes after these stages, by the way in: the active set method on what the interior-point
# method has solved, up to the tolerance, where all other answers are exact. Of 8192 problems with
# n = m = 10 that is one percent.
LAST = dict.fromkeys(("dual", "bounds", "mixed"), ACTIVE | {"steps": 2})

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


class Plan(NamedTuple):
    """How a problem is solved on the CPU: all that its numbers have no say in."""

    sizes: Sizes
    stages: tuple[Parameters, ...]
    way: Way
    """How the first stage goes over them."""
    iterates: int
    """How many are noted."""


def plan_of(problem: Problem, settings: Settings, alone: bool) -> Plan:
    """How a problem is solved on the CPU."""
    way, most, traced = way_in(problem, settings, alone), settings.max_iterations, settings.trace
    return kept_plan(problem.form, way, settings.tol, most, bool(traced), alone)


@lru_cache(maxsize=256)
def kept_plan(
    form: Form, way: str, tol: float | None, most: int, traced: bool, alone: bool
) -> Plan:
    """The same; kept."""
    sizes, stages = sizes_in(form), all_stages(form.dtype, tol, most, way)
    first = stages[0]
    iterates, kinds = first.max_iterations + 1 if traced else 0, (type(first.tol), form.dtype.type)
    on_cpu = way_of(sizes, first.sought, first.steps, *kinds, iterates, alone)
    return Plan(sizes, stages, on_cpu, iterates)


def parameters_of(
    problem: Problem, settings: Settings, alone: bool = False
) -> tuple[Parameters, ...]:
    """Settings and constants of every stage; `alone`: each problem is solved by itself."""
    return stages_of(problem.form.dtype, settings, way_in(problem, settings, alone))


def way_in(problem: Problem, settings: Settings, alone: bool) -> str:
    """What comes before the interior-point method, a key of WAYS_IN."""
    return way_into(problem.form, settings.precision == "mixed", alone)


@lru_cache(maxsize=256)
def way_into(form: Form, mixed: bool, alone: bool) -> str:
    """The same; kept."""
    n, m, p = form.n, form.m, form.p
    boxed, one_sided = "lb" in form or "ub" in form, ("lb" in form) != ("ub" in form)
    if m > 0 and m + p <= MOST_ROWS * n and not boxed:
        return "dual"
    if boxed and m == 0 and (p == 0 or (p == 1 and one_sided)):
        return "bounds"
    # float32 is no faster for problems that are not in packs (18)
    packs = n + p <= MOST_IN_PACKS and not alone
    return "mixed" if mixed and form.dtype == F64 and packs else "interior"


def interior_stages(dtype: np.dtype, settings: Settings) -> tuple[Parameters, ...]:
    """The stages of the interior-point method alone, in one precision."""
    return stages_of(dtype, settings, "interior")


def stages_of(dtype: np.dtype, settings: Settings, way: str) -> tuple[Parameters, ...]:
    """All stages after a way in."""
    return all_stages(dtype, settings.tol, settings.max_iterations, way)


@lru_cache(maxsize=64)
def all_stages(dtype: np.dtype, tol: float | None, most: int, way: str) -> tuple[Parameters, ...]:
    """Every stage in full; kept."""
    tol, most = Settings(tol=tol).tolerance(dtype), int(most)
    stages = *WAYS_IN[dtype][way], *((dtype, stage) for stage in STAGES[dtype])
    if dtype == F64 and way in LAST:
        stages = *stages, (dtype, LAST[way])
    return tuple(in_full(precision, tol, most, stage) for precision, stage in stages)


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
