"""What qpcore raises: one family, so that ``except QPError`` catches all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qpcore.sensitivity import Trust
    from qpcore.solution import Solution


class QPError(Exception):
    """Base of every error qpcore raises on purpose."""


class ProblemError(QPError, ValueError):
    """The arguments are no QP: a shape, a dtype or a missing partner.

    Values are never the cause: NaN, crossed bounds or an indefinite Q become the `Status` of that
    one problem.
    """


class SettingsError(QPError, ValueError):
    """A solver setting is of the wrong type or out of range."""


class DeviceError(QPError, RuntimeError):
    """A GPU was asked for, and something is missing for it; the message says what to install."""


class SolveError(QPError, RuntimeError):
    """At least one problem of the batch was not solved.

    Attributes
    ----------
    solution : Solution or None
        Everything that was computed, also for the problems that were solved.
    """

    def __init__(self, message: str, solution: Solution | None = None) -> None:
        super().__init__(message)
        self.solution = solution


class GradientError(QPError, RuntimeError):
    """A derivative was asked for that does not exist or cannot be trusted.

    Only with ``Settings(untrusted=Untrusted.RAISE)``.

    Attributes
    ----------
    trust : Trust or None
        What is known of the derivative in every problem of the batch.
    """

    def __init__(self, message: str, trust: Trust | None = None) -> None:
        super().__init__(message)
        self.trust = trust
