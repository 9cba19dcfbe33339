"""Batched, differentiable quadratic programs: arrays in, arrays out."""

from qpcore.api import solve
from qpcore.derivatives import jvp, solve_at_answer, vjp
from qpcore.errors import (
    DeviceError,
    GradientError,
    ProblemError,
    QPError,
    SettingsError,
    SolveError,
)
from qpcore.problem import Problem
from qpcore.sensitivity import Gradients, Tangents, Trust
from qpcore.settings import Settings, Untrusted
from qpcore.solution import Solution
from qpcore.status import Status
from qpcore.stream import solve_stream
from qpcore.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "DeviceError",
    "GradientError",
    "Gradients",
    "Problem",
    "ProblemError",
    "QPError",
    "Settings",
    "SettingsError",
    "Solution",
    "SolveError",
    "Status",
    "Tangents",
    "Trace",
    "Trust",
    "Untrusted",
    "jvp",
    "solve",
    "solve_at_answer",
    "solve_stream",
    "vjp",
]
