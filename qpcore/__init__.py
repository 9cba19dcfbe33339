"""Batched, differentiable quadratic programs: arrays in, arrays out."""

from qpcore.api import solve, vjp
from qpcore.errors import DeviceError, ProblemError, QPError, SettingsError, SolveError
from qpcore.problem import Problem
from qpcore.settings import Settings
from qpcore.solution import Gradients, Solution
from qpcore.status import Status
from qpcore.stream import solve_stream
from qpcore.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "DeviceError",
    "Gradients",
    "Problem",
    "ProblemError",
    "QPError",
    "Settings",
    "SettingsError",
    "Solution",
    "SolveError",
    "Status",
    "Trace",
    "solve",
    "solve_stream",
    "vjp",
]
