"""solve: the nouns meet the drivers."""

from __future__ import annotations

from typing import Any

from qpcore import devices
from qpcore.closest import replace_infeasible
from qpcore.errors import ProblemError
from qpcore.problem import Problem, as_given
from qpcore.settings import Settings
from qpcore.solution import Solution
from qpcore.solving import solve_problem, solve_there


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
    keep_factors: bool = False,
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
    device : {None, "cpu", "cuda"}
        Where to solve. "cuda" sends NumPy arrays to the current GPU and back, in parts that fit
        into its memory; None solves them on the CPU. CUDA arrays of torch, CuPy or Numba are solved
        where they lie, on the caller's current stream, and answered in kind; with throw=False
        nothing waits for the GPU. `Solution.on_host` copies an answer, for its measures.
    throw : bool
        Raise SolveError unless every problem is SOLVED, or infeasible and answered by the closest
        feasible one with ``Settings(infeasible="closest")``. With False, look at `Solution.status`.
    keep_factors : bool
        Keep the factors of small problems for `vjp`, where the method has some: strictly convex
        problems with few rows, without bounds, and with matrices of their own. Gradients then take
        a fifth to a half of the time, and the solve 5 to 15 percent more, and half to all of the
        memory of the data. Large and single problems in float64 keep theirs anyway. Only the last
        digits of gradients change.

    Batch axes (*) broadcast against each other. An argument without them, or with an axis of size
    1, is shared and never copied per problem. Limits that are infinite, or of magnitude 1e20 or
    more, are none. float32 data are solved in float32.

    Returns
    -------
    Solution
        Minimisers x, multipliers z, y, z_box with Qx + q + G'z + A'y + z_box = 0, a status and the
        number of iterations for each problem. A problem that is neither solved nor proved to have
        no solution holds its best iterate. One bad problem leaves the others as they are, bit for
        bit; but a problem of n + p >= 24 that is solved alone may differ in the last digits.

    Raises
    ------
    ProblemError
        Shapes or dtypes do not make a QP; values never raise.
    SolveError
        With `throw`, some problem is not SOLVED; the error carries the Solution.
    DeviceError
        A GPU was asked for, and something is missing for it.

    Notes
    -----
    A primal-dual interior-point method (Mehrotra's predictor-corrector, as in OptNet, Amos & Kolter
    2017, arXiv 1703.00443) with a proximal regularisation (PIQP, Schwan et al. 2023, arXiv
    2304.00290). What a quick solve leaves undecided goes through further stages: certificates of
    infeasibility, each the answer of a QP of its own, then more patient solves.
    `qpcore/derivation.md` has the equations.
    """
    if device not in (None, "cpu", "cuda"):
        raise ProblemError(f"device is {device!r}; expected None, 'cpu' or 'cuda'.")
    given = {"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub, "h_lower": h_lower}
    problem = as_given(given)
    if problem is None and any(map(devices.is_on_gpu, given.values())):
        if device == "cpu":
            raise ProblemError("device is 'cpu', but arrays lie on a GPU; expected None or 'cuda'.")
        solution = solve_there(given, settings)
    else:
        problem = problem or Problem.of(given)
        alone = problem.form.batch_size == 1
        solution = solve_parsed(problem, settings, device or "cpu", alone, keep_factors)
    if throw:
        solution.on_host().raise_for_status()
    return solution


def solve_parsed(
    problem: Problem,
    settings: Settings,
    device: str = "cpu",
    alone: bool = False,
    keep: bool = False,
) -> Solution:
    """Solve what was checked, infeasible problems as the settings have it."""
    solution = solve_problem(problem, settings, device, alone, keep)
    if settings.infeasible == "closest":
        replace_infeasible(solution)
    return solution
