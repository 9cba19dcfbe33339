"""Batched, differentiable quadratic programs: arrays in, arrays out."""

from qpcore.api import solve
from qpcore.derivatives import jvp, solve_at_answer, vjp
from qpcore.errors import ProblemError, QPError, SettingsError, SolveError
from qpcore.problem import Problem
from qpcore.settings import Settings
from qpcore.solution import Gradients, Solution, Tangents
from qpcore.status import Status
from qpcore.trace import Trace

__version__ = "0.1.0"

__all__ = [
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
    "jvp",
    "solve",
    "solve_at_answer",
    "vjp",
]
