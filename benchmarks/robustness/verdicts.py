"""What a solver may say of a problem, and what counts as right."""

from __future__ import annotations

SOLVED = "solved"
INFEASIBLE = "primal_infeasible"
UNBOUNDED = "dual_infeasible"
EITHER = "infeasible_or_unbounded"
NONCONVEX = "nonconvex"

UNDECIDED = "undecided"
"""It gave up, was stopped, or died."""
REFUSED = "refused"
"""It does not take the problem, mostly for a Q that is not positive definite: right of a nonconvex
one, and as undecided as anything of another."""

CLAIM_NOTHING = {UNDECIDED, REFUSED, EITHER}
"""Where these are not right they are not wrong either."""

RIGHT = {
    "optimal": {SOLVED},
    INFEASIBLE: {INFEASIBLE},
    UNBOUNDED: {UNBOUNDED},
    EITHER: {INFEASIBLE, UNBOUNDED, EITHER},
    NONCONVEX: {NONCONVEX, REFUSED},
}
"""Verdicts that are right, by the status that the collection gives a problem."""

RIGHT_TOO = {
    ("mm", "VALUES"): {NONCONVEX},  # the smallest eigenvalue is -1.3e-5
    ("nasty", "indefinite_free"): {UNBOUNDED},
}


def right(group: str, name: str, truth: str) -> set[str]:
    """Verdicts that are right of a problem."""
    return RIGHT[truth] | RIGHT_TOO.get((group, name), set())
