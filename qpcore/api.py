"""solve and vjp: the nouns meet the drivers."""

from __future__ import annotations

from typing import Any

import numpy as np

from qpcore import cpu, there
from qpcore.devices import is_on_gpu, obstacle
from qpcore.errors import DeviceError, ProblemError
from qpcore.gradients import assemble
from qpcore.kernels.transfer import Result, Vectors
from qpcore.kernels.workspace import Data, Sizes
from qpcore.libraries import library_of
from qpcore.problem import Problem
from qpcore.promise import take_back
from qpcore.settings import Settings
from qpcore.solution import Gradients, Solution
from qpcore.stages import parameters_of
from qpcore.status import Status
from qpcore.trace import Trace


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
    device : {None, "cpu", "cuda"}
        Where to solve. "cuda" sends NumPy arrays to the current GPU and back, in parts that fit
        into its memory; None solves them on the CPU. CUDA arrays of torch, CuPy or Numba are solved
        where they lie, on the caller's current stream, and answered in kind; with throw=False
        nothing waits for the GPU. `Solution.on_host` copies an answer, for its measures.
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
    if any(map(is_on_gpu, given.values())):
        return _solve_there(given, settings, device, throw)
    problem = Problem.parse(**given)
    arguments = data_of(problem), sizes_of(problem), parameters_of(problem, settings)
    if device == "cuda":
        result = gpu_driver().solve(*arguments, bool(settings.trace))
    else:
        result = cpu.solve(*arguments, settings.thread_count(), bool(settings.trace))
    batch = problem.batch_shape
    x, z, y, z_box = (v.reshape(*batch, v.shape[-1]) for v in result[:4])
    status, iterations = result.status.reshape(batch), result.iterations.reshape(batch)
    trace = trace_of(result, batch) if settings.trace else None
    where = device or "cpu"
    solution = Solution(x, z, y, z_box, status, iterations, problem, settings, trace, where)
    take_back(solution)
    if throw:
        solution.raise_for_status()
    return solution


def vjp(
    solution: Solution, dx: Any = None, dz: Any = None, dy: Any = None, dz_box: Any = None
) -> Gradients:
    """Pull cotangents of the solution back to the data: the gradient of a scalar function.

    For a function f(x, z, y, z_box) with the given partial derivatives, the result holds df/dQ,
    df/dq and so on, by implicit differentiation of the optimality conditions (Amos & Kolter 2017,
    eqs. 6-8; equations (13) and (14) of `derivation.md`). It uses the problem's data and the
    solution's x, z, y, z_box, nothing else of the solver.

    Parameters
    ----------
    solution : Solution
        An answer of `solve`.
    dx, dz, dy, dz_box : array_like, optional
        Cotangents in the shapes of solution.x, .z, .y, .z_box; None means zero.

    Returns
    -------
    Gradients
        Each in the shape of its argument as it was given. Arguments that the batch shares receive
        the sum over the batch (qpth averages). A problem that is neither SOLVED nor MAX_ITERATIONS,
        whose best iterate is taken for the answer, contributes exactly zero if its cotangents are
        zero, else NaN. Where both limits of a row are equal, ub (or h) receives the gradient if the
        multiplier is >= 0, and lb (or h_lower) if it is negative.

    Raises
    ------
    ProblemError
        A cotangent has another shape.

    Notes
    -----
    The derivative exists where every active inequality has a nonzero multiplier, and where x and
    the multipliers are unique. Elsewhere the result is finite, but one of many.
    """
    if is_on_gpu(solution.x):
        return _vjp_there(solution, {"x": dx, "z": dz, "y": dy, "z_box": dz_box})
    problem, batch = solution.problem, solution.problem.batch_size
    answers = {name: getattr(solution, name) for name in Vectors._fields}
    given = {"x": dx, "z": dz, "y": dy, "z_box": dz_box}
    cotangents = {name: _cotangent(f"d{name}", v, answers[name]) for name, v in given.items()}
    cotangents = {name: v.reshape(batch, v.shape[-1]) for name, v in cotangents.items()}
    answers = {name: v.reshape(batch, v.shape[-1]) for name, v in answers.items()}
    failed = ~np.isin(solution.status, (Status.SOLVED, Status.MAX_ITERATIONS)).reshape(batch)
    if failed.any():
        answers = {name: np.where(failed[:, None], 0, v) for name, v in answers.items()}
    threads = solution.settings.thread_count()
    adjoint = adjoint_of(solution, Vectors(**answers), Vectors(**cotangents))._asdict()
    if failed.any():
        touched = [(v != 0).any(axis=1) for v in cotangents.values()]
        blank = np.where(np.any(touched, axis=0), np.nan, 0.0)[failed, None]
        for v in adjoint.values():
            v[failed] = blank
    return assemble(problem, answers, adjoint, threads)


def _solve_there(given: dict, settings: Settings, device: str | None, throw: bool) -> Solution:
    """Solve CUDA arrays where they lie."""
    if device == "cpu":
        raise ProblemError("device is 'cpu', but arrays lie on a GPU; expected None or 'cuda'.")
    if settings.trace:
        raise ProblemError("A trace is kept of NumPy arrays only: copy them, or device='cuda'.")
    gpu = gpu_driver()
    problem = there.problem_of(given)
    found = there.solve(gpu, problem, sizes_of(problem), settings)
    solution = Solution(**found, problem=problem, settings=settings, device="cuda")
    if throw:
        solution.on_host().raise_for_status()
    return solution


def _vjp_there(solution: Solution, right: dict[str, Any]) -> Gradients:
    """Gradients of CUDA arrays where they lie."""
    problem, settings = solution.problem, solution.settings
    answer = Vectors(solution.x, solution.z, solution.y, solution.z_box)
    at, cotangents, failed = there.usable(problem, answer, right, solution.status)
    d = there.adjoint(gpu_driver(), problem, sizes_of(problem), settings, at, cotangents)
    d = there.spoiled(library_of(problem.Q).module, d, cotangents, failed)
    return Gradients(**there.gradients(problem, at, d))


def adjoint_of(solution: Solution, answers: Vectors, cotangents: Vectors) -> Vectors:
    """Solve the adjoint systems where the problems were solved."""
    problem, settings = solution.problem, solution.settings
    where, parameters = (data_of(problem), sizes_of(problem)), parameters_of(problem, settings)[0]
    if solution.device == "cuda":
        return gpu_driver().adjoint(*where, parameters, answers, cotangents)
    return cpu.adjoint(*where, parameters, answers, cotangents, settings.thread_count())


def gpu_driver() -> Any:
    """The GPU driver, imported when it is first asked for.

    Raises
    ------
    DeviceError
        The CUDA extra, a driver or a GPU is missing.
    """
    missing = obstacle()
    if missing:
        raise DeviceError(missing)
    from qpcore import gpu

    return gpu


def _cotangent(name: str, value: Any, like: np.ndarray) -> np.ndarray:
    """A cotangent as an array of the solution's shape and dtype; zeros for None."""
    if value is None:
        return np.zeros(like.shape, like.dtype)
    array = np.asarray(value)
    if array.shape != like.shape or array.dtype.kind not in "biuf":
        raise ProblemError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected shape {like.shape}, "
            f"that of solution.{name[1:]}, and real numbers."
        )
    return array.astype(like.dtype, copy=False)


def trace_of(result: Result, batch: tuple[int, ...]) -> Trace:
    """The solver's notes up to the last iterate of the batch, one array for each kind."""
    reached = int(result.iterations.max(initial=0)) + 1
    kinds = np.moveaxis(result.trace[:, :reached], -1, 0)
    return Trace(*(np.ascontiguousarray(notes).reshape(*batch, reached) for notes in kinds))


def data_of(problem: Problem) -> Data:
    """The problem as the drivers take it."""
    names = Data._fields[:-1]
    entry = np.zeros((len(names), problem.batch_size), np.int64)
    arrays = [problem.compact(name) for name in names]
    for row, name, array in zip(entry, names, arrays, strict=True):
        if len(array) != 1:
            row[:] = problem.index(name)
    return Data._make([*arrays, entry])


def sizes_of(problem: Problem) -> Sizes:
    """Sizes, and the ranges of rows of [G; I] that have an upper and a lower side."""
    n, m, p = problem.n, problem.m, problem.p
    has_box = problem.lb is not None or problem.ub is not None
    first = (0 if problem.h is not None else m, 0 if problem.h_lower is not None else m)
    last = (m + n * (problem.ub is not None), m + n * (problem.lb is not None))
    return Sizes(n, m, p, m + n * has_box, first, last)
