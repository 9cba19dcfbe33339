"""Derivatives of the answer: one solve with the KKT matrix there serves every mode (13)."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

import numpy as np

from qpcore import devices, there_gradients
from qpcore.arguments import CORE_AXES
from qpcore.arrays import made
from qpcore.closest_gradients import pull_closest
from qpcore.errors import ProblemError
from qpcore.forms import Form
from qpcore.gradients import Shares, disturb
from qpcore.kernels.transfer import Vectors
from qpcore.linear import Linear
from qpcore.linearise import linearise
from qpcore.pull import pull_back
from qpcore.sensitivity import Gradients, Tangents
from qpcore.settings import Untrusted
from qpcore.solution import Solution
from qpcore.verdict import in_batch_shape

# What is not asked for.
NO_GRADIENTS = dict.fromkeys(CORE_AXES)


def vjp(
    solution: Solution,
    dx: Any = None,
    dz: Any = None,
    dy: Any = None,
    dz_box: Any = None,
    *,
    wanted: Collection[str] | None = None,
) -> Gradients:
    """Pull cotangents of the solution back to the data: the gradient of a scalar function.

    For a function f(x, z, y, z_box) with the given partial derivatives, the result holds df/dQ,
    df/dq and so on, by implicit differentiation of the optimality conditions (Amos & Kolter 2017,
    eqs. 6-8; equations (13) and (14) of `derivation.md`). It uses the problem's data, the
    solution's x, z, y, z_box, and factors that `solve` may have saved.

    Parameters
    ----------
    solution : Solution
        An answer of `solve`.
    dx, dz, dy, dz_box : array_like, optional
        Cotangents in the shapes of solution.x, .z, .y, .z_box; None means zero.
    wanted : collection of str, optional
        Names of the arguments whose gradients are needed; the others are not computed and come as
        None. By default all that were given.

    Returns
    -------
    Gradients
        Each in the shape of its argument as it was given. Arguments that the batch shares receive
        the sum over the batch (qpth averages). A problem that is neither SOLVED nor MAX_ITERATIONS,
        whose best iterate is taken for the answer, contributes exactly zero if its cotangents are
        zero, else NaN. Where both limits of a row are equal, ub (or h) receives the gradient if the
        multiplier is >= 0, and lb (or h_lower) if it is negative. Infeasible problems that were
        answered by the closest feasible one have its gradient, equation (17). Its field `trust`
        says how far each problem's share can be trusted, for the arguments that are `wanted`.

    Raises
    ------
    ProblemError
        A cotangent has another shape, or `wanted` names no argument.
    GradientError
        With ``Settings(untrusted=Untrusted.RAISE)``, some problem has no derivative to be trusted.
    NotImplementedError
        The solution lies on a GPU, and ``Settings(untrusted=Untrusted.SMOOTH)``.

    Notes
    -----
    The derivative exists where every active inequality has a nonzero multiplier, and where x and
    the multipliers are unique. Elsewhere the result is finite, but one of many, unless
    `Settings.untrusted` says otherwise. The answer takes one more Newton step before it enters the
    gradients, which are those of the exact answer rather than of one within the tolerance; but not
    where the solve has left a factor and found that it serves, equation (20): such answers are
    exact. As in `solve`, a problem of n + p >= 24 that is alone may differ in the last digits. So
    may one whose factor is not there any more, since many solves came after it.
    """
    problem = solution.problem
    names = frozenset(problem.given_shapes)
    if wanted is not None:
        unknown = set(wanted) - CORE_AXES.keys()
        if unknown:
            listed, known = ", ".join(sorted(unknown)), ", ".join(CORE_AXES)
            raise ProblemError(f"wanted names {listed}; expected some of {known}.")
        names &= set(wanted)
    if devices.is_on_gpu(solution.x):
        return there_gradients.vjp(solution, Vectors(dx, dz, dy, dz_box), names)
    right = right_sides(solution, "d", Vectors(dx, dz, dy, dz_box))
    has_closest = solution.settings.infeasible == "closest" and solution.closest.any()
    pull = pull_closest if has_closest else pull_back
    gradients, trust = pull(solution, right, names)
    trusted = {"trust": in_batch_shape(trust, problem.batch_shape)}
    return made(Gradients, NO_GRADIENTS | gradients | trusted)


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
    NotImplementedError
        Some answers are those of closest feasible problems, ``Settings(infeasible="closest")``, or
        they lie on a GPU.

    Notes
    -----
    The derivative exists where that of `vjp` does.
    """
    if devices.is_on_gpu(solution.x):
        raise NotImplementedError(
            "jvp takes answers in NumPy arrays, such as solution.on_host(). Of CUDA tensors "
            "torch.func.jvp through torch_bridge.solve_qp finds tangents where they lie."
        )
    refuse_closest(solution)
    problem = solution.problem
    given = {"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub, "h_lower": h_lower}
    moved = {k: problem.tangent(k, v) for k, v in given.items() if v is not None}
    # The disturbance depends on the point that the linearisation takes, and, by the error of its
    # own solution, the point on the disturbance: once relaxed, a problem stays so.
    alone = problem.batch_size == 1
    nothing = right_sides(solution, "", Vectors(None, None, None, None))
    linear = linearise(solution, nothing, alone=alone)
    while True:
        before = linear.doubtful
        linear = linearise(solution, disturbance(solution, linear, moved), before, alone)
        if solution.settings.untrusted is not Untrusted.SMOOTH or (linear.doubtful == before).all():
            break
    found = in_batch(solution, linear.found)
    for part in found:
        part[np.isnan(linear.trust.margin).reshape(problem.batch_shape)] = np.nan
    return Tangents(*found, trust=in_batch_shape(linear.trust, problem.batch_shape))


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
    NotImplementedError
        Some answers are those of closest feasible problems, ``Settings(infeasible="closest")``.
    """
    if devices.is_on_gpu(solution.x):
        return there_gradients.solve_at_answer(solution, Vectors(rx, rz, ry, rz_box))
    refuse_closest(solution)
    right = right_sides(solution, "r", Vectors(rx, rz, ry, rz_box))
    alone = solution.problem.batch_size == 1
    return in_batch(solution, linearise(solution, right, alone=alone).found)


def refuse_closest(solution: Solution) -> None:
    """Forward mode and bare solves know nothing of the shift."""
    if solution.closest.any():
        raise NotImplementedError(
            "This solution has answers of closest feasible problems, Settings(infeasible="
            "'closest'), whose derivative qpcore.vjp alone can give."
        )


def disturbance(solution: Solution, linear: Linear, moved: dict[str, np.ndarray]) -> Vectors:
    """What tangents of the data do to the conditions, as (batch, ·) arrays."""
    problem = solution.problem
    at, shape = in_batch(solution, linear.at), problem.batch_shape
    upper = Shares(*(part.reshape(*shape, part.shape[-1]) for part in linear.upper))
    if not upper.z_box.shape[-1]:
        upper = upper._replace(z_box=np.ones_like(at.z_box))
    parts = disturb(at, upper, moved)
    return Vectors._make(part.reshape(problem.batch_size, part.shape[-1]) for part in parts)


def in_batch(solution: Solution, vectors: Vectors) -> Vectors:
    """(batch, ·) arrays in the shapes of the solution; z_box zero where there are no bounds."""
    shapes = [getattr(solution, name).shape for name in Vectors._fields]
    parts = [v.reshape(shape) for v, shape in zip(vectors[:3], shapes[:3], strict=True)]
    box = vectors.z_box
    box = box if box.shape[-1] else np.zeros(shapes[3], box.dtype)
    return Vectors._make([*parts, box.reshape(shapes[3])])


def right_sides(solution: Solution, letter: str, given: Vectors) -> Vectors:
    """What a caller gave for (x, z, y, z_box), as (batch, ·) arrays; zeros for None."""
    form = solution.problem.form
    parts = list(nothing_right(form))
    for place, (name, value) in enumerate(zip(Vectors._fields, given, strict=True)):
        if value is None:
            continue
        like, part = getattr(solution, name), np.asarray(value)
        if part.shape != like.shape or part.dtype.kind not in "biuf":
            raise ProblemError(
                f"{letter}{name} has shape {part.shape} and dtype {part.dtype}; expected shape "
                f"{like.shape}, that of solution.{name}, and real numbers."
            )
        if part.dtype is not like.dtype:
            part = part.astype(like.dtype, copy=False)
        parts[place] = part.reshape(form.batch_size, part.shape[-1])
    return Vectors._make(parts)


@lru_cache(maxsize=64)
def nothing_right(form: Form) -> Vectors:
    """Right-hand sides of zero, one number spread in each; kept, and read-only."""
    shapes = [(form.batch_size, width) for width in (form.n, form.m, form.p, form.n)]
    return Vectors._make([np.broadcast_to(np.zeros((), form.dtype), shape) for shape in shapes])
