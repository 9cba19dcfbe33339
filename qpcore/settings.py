"""What the caller may set about a solve."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from enum import Enum
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qpcore.errors import SettingsError

THREADS_VARIABLE = "QPCORE_NUM_THREADS"
DEFAULT_TOLERANCE = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 1e-5}


class Untrusted(Enum):
    """What derivatives do in problems where there is none, or none that can be trusted."""

    LEAVE = "leave"
    """Nothing: the result is finite, and one of many."""
    ZERO = "zero"
    """Zero: the problem teaches nothing in this step."""
    NAN = "nan"
    """NaN, which shows."""
    RAISE = "raise"
    """Raise GradientError, which names the problems."""
    SMOOTH = "smooth"
    """Take the derivative of the barrier-relaxed problem, see `Settings.smoothing`."""


@dataclass(frozen=True)
class Settings:
    """Solver settings, checked when they are made.

    Raises
    ------
    SettingsError
        A field is of the wrong type or out of range.
    """

    tol: float | None = None
    """Relative tolerance: primal residual, dual residual and duality gap must each be at most
    tol * (1 + the size of the terms in it), and the gap at most 100 * tol * (1 + |objective|) too.
    Residuals are driven on below 100 * tol itself while that makes progress. None means 1e-8 in
    float64 and 1e-5 in float32. Loosen it where noisy gradients suffice."""

    max_iterations: int = 500
    """Iterations after which a problem is given up as MAX_ITERATIONS, counted through all stages
    of its solve: quick attempt, search for a certificate, patient attempts. Few problems need more
    than 30. Lower it to bound the time of the hardest; raise it where the residuals at the limit
    were still falling."""

    threads: int | None = None
    """CPU threads. None means the environment variable QPCORE_NUM_THREADS if it is set, else every
    CPU that this process may run on. Set 1 inside data loader workers and other process pools."""

    trace: bool = False
    """Record every iterate in `Solution.trace`, where failures and slow progress show why. Answers
    keep their bits. Costs batch size * (max_iterations + 1) * 6 numbers of memory while solving.
    `torch_bridge` returns no trace, but the solution that a SolveError carries has it."""

    untrusted: Untrusted = Untrusted.LEAVE
    """What `vjp` and `jvp` do in problems whose derivative does not exist or cannot be trusted, by
    the verdict of `Trust.trusted`: LEAVE, ZERO, NAN, RAISE or SMOOTH."""

    smoothing: float = 1e-4
    """mu of Untrusted.SMOOTH: the derivative is taken at the minimiser of the objective less mu
    times the sum of the logarithms of all slacks, where each slack times its multiplier is mu. A
    larger mu is smoother and farther from the problem; its unit is that of the objective."""

    precision: Literal["double", "mixed"] = "double"
    """How float64 problems are solved. "double": in float64 throughout. "mixed": most of the
    iterations in float32, in twice as wide vectors; which constraints are active is read off their
    result, and one or two systems in float64 then give the answer, checked like every other one. A
    problem where that fails is solved in double. Answers of "mixed" are mostly exact to the last
    digits. It pays where answers are nondegenerate, see README. Float32 problems ignore it,
    those that an active set method is tried on first, those of more than 200 variables and
    equations, where it would not pay, and the GPU."""

    infeasible: Literal["certificate", "closest"] = "certificate"
    """What stands in the place of the answer in PRIMAL_INFEASIBLE problems. "certificate": a Farkas
    ray. "closest": x, z, y and z_box of the closest feasible problem, whose limits (h, h_lower, b,
    lb, ub) are moved by the shift of least Euclidean norm that lets some x satisfy them all. The
    status stays PRIMAL_INFEASIBLE, so that it can be told from SOLVED, and `throw` lets it pass.
    The shift is what x violates, and a Farkas ray itself. Rows that give way have the multipliers
    of least norm, of either sign. Costs two more solves of these problems, which
    `Solution.iterations` leaves out, and again two in `vjp`; there is neither `jvp` nor
    Untrusted.SMOOTH. Where the closest problem has no minimiser, x is NaN beside the ray, and
    `throw` raises."""

    def __post_init__(self) -> None:
        if self.tol is not None and not _is_positive_real(self.tol):
            raise _rejected(
                "tol", self.tol, "a finite number > 0, or None for the default of the dtype"
            )
        if not _is_positive_integer(self.max_iterations):
            raise _rejected("max_iterations", self.max_iterations, "an integer >= 1")
        if self.threads is not None and not _is_positive_integer(self.threads):
            raise _rejected(
                "threads", self.threads, "an integer >= 1, or None for all CPUs of this process"
            )
        if not isinstance(self.untrusted, Untrusted):
            raise _rejected("untrusted", self.untrusted, "a member of qpcore.Untrusted")
        if not _is_positive_real(self.smoothing):
            raise _rejected("smoothing", self.smoothing, "a finite number > 0")
        if self.infeasible not in ("certificate", "closest"):
            raise _rejected("infeasible", self.infeasible, "'certificate' or 'closest'")
        if self.precision not in ("double", "mixed"):
            raise _rejected("precision", self.precision, "'double' or 'mixed'")
        if self.infeasible == "closest" and self.untrusted is Untrusted.SMOOTH:
            raise _rejected("untrusted", self.untrusted, "another, beside infeasible='closest'")
        if not isinstance(self.trace, (bool, np.bool_)):
            raise _rejected("trace", self.trace, "True or False")

    def tolerance(self, dtype: npt.DTypeLike) -> float:
        """Relative tolerance for data of this dtype, float64 or float32.

        Raises
        ------
        SettingsError
            The dtype is another one.
        """
        if np.dtype(dtype) not in DEFAULT_TOLERANCE:
            raise _rejected("tolerance(dtype)", dtype, "float64 or float32")
        return DEFAULT_TOLERANCE[np.dtype(dtype)] if self.tol is None else float(self.tol)

    def thread_count(self) -> int:
        """Return the number of CPU threads to use now.

        Raises
        ------
        SettingsError
            The environment variable QPCORE_NUM_THREADS is needed and is not an integer >= 1.
        """
        if self.threads is not None:
            return int(self.threads)
        text = os.environ.get(THREADS_VARIABLE, "").strip()
        if not text:
            return _available_cpus()
        if not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise _rejected(
                f"threads (environment variable {THREADS_VARIABLE})",
                text,
                "an integer >= 1, or unset",
            )
        return int(text)


def _available_cpus() -> int:
    """CPUs that this process may run on; all there are on macOS and Windows, which cannot tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_positive_real(value: Any) -> bool:
    if type(value) is float:  # to ask for a kind of number takes half a microsecond
        return 0 < value < math.inf
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def _is_positive_integer(value: Any) -> bool:
    if type(value) is int:
        return value >= 1
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _rejected(field: str, came: object, expected: str) -> SettingsError:
    return SettingsError(
        f"Settings: {field} is {came!r} ({type(came).__name__}); expected {expected}."
    )
