"""Derivatives of the answer: one solve with the KKT matrix there serves every mode (13)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qpcore import cpu
from qpcore.api import data_of, parameters_of, sizes_of
from qpcore.errors import ProblemError
from qpcore.gradients import assemble, disturb
from qpcore.kernels.transfer import Vectors
from qpcore.solution import Gradients, Solution, Tangents
from qpcore.status import Status


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
    answer = answer_of(solution)
    cotangents = right_sides(solution, "d", Vectors(dx, dz, dy, dz_box))
    adjoint = solve_kkt(solution, answer, cotangents)
    threads = solution.settings.thread_count()
    return assemble(solution.problem, answer._asdict(), adjoint._asdict(), threads)


def jvp(
    solution: Solution,
    Q: Any = None,
    q: Any = None,
    G: Any = None,
    h: Any = None,
    A: Any = None,
    b: Any = None,
    lb: Any = None,
    ub: Any = None,
    h_lower: Any = None,
) -> Tangents:
    """Push tangents of the data forward to the solution: its directional derivative.

    The transpose of `vjp`, by the same solve: sum(dx * x) + ... over the tangents of the solution
    equals sum(Q * dQ) + ... over those of the data, for every set of cotangents.

    Parameters
    ----------
    solution : Solution
        An answer of `solve`.
    Q, q, G, h, A, b, lb, ub, h_lower : array_like, optional
        Tangents of the arguments that were given to `solve`; None means zero. Batch axes broadcast
        to those of the problem, whatever those of the argument were; what is shared is not copied
        per problem. Of Q's tangent only the symmetric part counts. A single number stands for all
        entries of a limit.

    Returns
    -------
    Tangents
        In the shapes of solution.x, .z, .y, .z_box. NaN in problems that are neither SOLVED nor
        MAX_ITERATIONS, whose best iterate is taken for the answer.

    Raises
    ------
    ProblemError
        A tangent has no argument to move, or another shape.

    Notes
    -----
    The derivative exists where that of `vjp` does.
    """
    problem, batch = solution.problem, solution.problem.batch_size
    given = {"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub, "h_lower": h_lower}
    moved = {k: problem.tangent(k, v) for k, v in given.items() if v is not None}
    answer = answer_of(solution)
    right = disturb(in_batch(solution, answer), moved)
    right = Vectors._make(part.reshape(batch, part.shape[-1]) for part in right)
    found = solve_kkt(solution, answer, right)
    for part in found:
        part[failures(solution)] = np.nan
    return Tangents(**in_batch(solution, found)._asdict())


def solve_at_answer(
    solution: Solution, rx: Any = None, rz: Any = None, ry: Any = None, rz_box: Any = None
) -> Vectors:
    """Solve the KKT system at the answer, on which every derivative stands.

    The optimality conditions, linearised at the answer, have the symmetric matrix (13) ::

        M = [ Q  A'  C' ]      C = [G; I] with multipliers v = [z; z_box];
            [ A  0   0  ]      T = 0 in rows that bind (v != 0) and in fixed ones,
            [ C  0  -T  ]      T = infinity in the others, where v stays zero

    and the result is d = -M⁻¹ r. With r a cotangent of (x, z, y, z_box), d is what `vjp` makes
    gradients of; with r the change of the conditions under a change of the data, d is the tangent
    that `jvp` returns. M being symmetric, the map from r to d is its own transpose.

    Parameters
    ----------
    solution : Solution
        An answer of `solve`.
    rx, rz, ry, rz_box : array_like, optional
        Right-hand sides in the shapes of solution.x, .z, .y, .z_box; None means zero.

    Returns
    -------
    Vectors
        Named tuple (x, z, y, z_box) of arrays in those shapes. A problem that is neither SOLVED nor
        MAX_ITERATIONS has zeros if its right-hand sides are zero, else NaN.

    Raises
    ------
    ProblemError
        A right-hand side has another shape.
    """
    right = right_sides(solution, "r", Vectors(rx, rz, ry, rz_box))
    return in_batch(solution, solve_kkt(solution, answer_of(solution), right))


def solve_kkt(solution: Solution, answer: Vectors, right: Vectors) -> Vectors:
    """-M⁻¹ right (13) of (batch, ·) arrays; NaN in failed problems unless their right is zero."""
    problem, settings = solution.problem, solution.settings
    found = cpu.adjoint(
        data_of(problem),
        sizes_of(problem),
        parameters_of(problem, settings)[0],
        answer,
        right,
        settings.thread_count(),
    )
    failed = failures(solution)
    if failed.any():
        touched = np.any([(part != 0).any(axis=1) for part in right], axis=0)
        for part in found:
            part[failed] = np.where(touched, np.nan, 0.0)[failed, None]
    return found


def failures(solution: Solution) -> np.ndarray:
    """(batch,) bool, True where there is no answer to differentiate."""
    usable = (Status.SOLVED, Status.MAX_ITERATIONS)
    return ~np.isin(solution.status, usable).reshape(solution.problem.batch_size)


def answer_of(solution: Solution) -> Vectors:
    """x, z, y, z_box as (batch, ·) arrays, zero in failed problems."""
    batch, failed = solution.problem.batch_size, failures(solution)
    parts = [getattr(solution, name) for name in Vectors._fields]
    parts = [part.reshape(batch, part.shape[-1]) for part in parts]
    if failed.any():
        parts = [np.where(failed[:, None], 0, part) for part in parts]
    return Vectors._make(parts)


def in_batch(solution: Solution, vectors: Vectors) -> Vectors:
    """(batch, ·) arrays in the batch's own shape."""
    shape = solution.problem.batch_shape
    return Vectors._make(part.reshape(*shape, part.shape[-1]) for part in vectors)


def right_sides(solution: Solution, letter: str, given: Vectors) -> Vectors:
    """What a caller gave for (x, z, y, z_box), as (batch, ·) arrays; zeros for None."""
    batch = solution.problem.batch_size
    parts = []
    for name, value in given._asdict().items():
        like = getattr(solution, name)
        part = np.zeros_like(like) if value is None else np.asarray(value)
        if part.shape != like.shape or part.dtype.kind not in "biuf":
            raise ProblemError(
                f"{letter}{name} has shape {part.shape} and dtype {part.dtype}; expected shape "
                f"{like.shape}, that of solution.{name}, and real numbers."
            )
        part = part.astype(like.dtype, copy=False)
        parts.append(part.reshape(batch, part.shape[-1]))
    return Vectors._make(parts)
