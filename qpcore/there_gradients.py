"""Derivatives of answers that lie on a GPU, in the arithmetic that torch and CuPy share.

As `linearise.py` and `gradients.py` do it for NumPy. Nothing waits for the GPU but Untrusted.RAISE,
which asks for what only the host can do.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from qpcore import devices, there
from qpcore.errors import ProblemError
from qpcore.gradients import Shares
from qpcore.handover import sizes_of
from qpcore.kernels.transfer import Vectors
from qpcore.kernels.workspace import Certificate
from qpcore.libraries import library_of
from qpcore.linear import Linear, rules_of
from qpcore.problem import Problem
from qpcore.problem_there import DTYPES, dtype_name
from qpcore.sensitivity import Gradients, Trust
from qpcore.settings import Untrusted
from qpcore.solution import Solution
from qpcore.status import Status
from qpcore.untrusted import complaint
from qpcore.verdict import MOST_ERROR, SAFETY, in_batch_shape


def vjp(solution: Solution, right: Vectors, wanted: Collection[str]) -> Gradients:
    """`qpcore.vjp`."""
    linear = linearise(solution, "d", right)
    found = gradients(solution.problem, linear.at, linear.found, wanted)
    return Gradients(**found, trust=in_batch_shape(linear.trust, solution.problem.batch_shape))


def solve_at_answer(solution: Solution, right: Vectors) -> Vectors:
    """`qpcore.solve_at_answer`."""
    found, shape = linearise(solution, "r", right).found, solution.problem.batch_shape
    return Vectors(*(part.reshape((*shape, part.shape[-1])) for part in found))


# ---- the linear system ---------------------------------------------------------------------------


def linearise(solution: Solution, letter: str, given: Vectors) -> Linear:
    """`linearise.linearise`, for right-hand sides in the shapes of the solution.

    Raises
    ------
    ProblemError
        A right-hand side has another shape, or the library has no arithmetic.
    NotImplementedError
        The settings ask for derivatives of relaxed problems, which only the CPU solves.
    """
    if solution.settings.untrusted is Untrusted.SMOOTH:
        raise NotImplementedError(
            "Settings(untrusted=Untrusted.SMOOTH) needs NumPy arrays, such as solution.on_host()."
        )
    problem, module = solution.problem, library_of(solution.x).module
    if not hasattr(module, "where"):
        raise ProblemError("Numba's device arrays have no arithmetic; use torch or CuPy for vjp.")
    answer, right = rows_of(solution, module), right_sides(solution, letter, given, module)
    status = solution.status.reshape((problem.batch_size, 1))
    failed = (status != int(Status.SOLVED)) & (status != int(Status.MAX_ITERATIONS))
    answer = blanked(module, answer, failed, False)
    dtype = DTYPES[dtype_name(problem.Q)]
    gpu, rules = devices.gpu_driver(), rules_of(dtype)
    d, at, certificate = there.adjoint(gpu, problem, sizes_of(problem), rules, answer, right)
    touched = sum((v != 0).sum(-1).reshape((len(v), 1)) for v in right) > 0
    trust = trust_of(module, solution.settings.tolerance(dtype), dtype, certificate, failed)
    d = blanked(module, d, failed, touched)
    at = blanked(module, at, failed, False)
    linear = Linear(at, Shares(at.z >= 0, at.z_box >= 0), d, trust, ~trust.trusted & ~failed[:, 0])
    return apply_policy(solution, linear, touched)


def rows_of(solution: Solution, module: Any) -> Vectors:
    """x, z, y, z_box as (batch, ·) arrays."""
    parts = (getattr(solution, name) for name in Vectors._fields)
    return Vectors(*(v.reshape((solution.problem.batch_size, v.shape[-1])) for v in parts))


def right_sides(solution: Solution, letter: str, given: Vectors, module: Any) -> Vectors:
    """What a caller gave for (x, z, y, z_box), as (batch, ·) arrays; zeros for None."""
    parts = []
    for name, flat in rows_of(solution, module)._asdict().items():
        value, shape = getattr(given, name), tuple(getattr(solution, name).shape)
        if value is None:
            parts.append(module.zeros_like(flat))
            continue
        if not devices.is_on_gpu(value) or tuple(value.shape) != shape:
            raise ProblemError(
                f"{letter}{name} is a {type(value).__name__} of shape {tuple(np.shape(value))}; "
                f"expected an array like solution.{name}, on its device and of shape {shape}."
            )
        parts.append(value.reshape(flat.shape))
    return Vectors(*parts)


def blanked(module: Any, vectors: Vectors, where: Any, touched: Any) -> Vectors:
    """Zero in some problems, or NaN in those of them that are touched."""
    parts = []
    for v in vectors:
        blank = module.zeros_like(v)
        if touched is not False:
            blank = module.where(touched, blank + float("nan"), blank)
        parts.append(module.where(where, blank, v))
    return Vectors(*parts)


def trust_of(module: Any, tol: float, dtype: np.dtype, certificate: Any, failed: Any) -> Trust:
    """The certificates of the batch, and the verdict."""
    certificate = module.where(failed, certificate + float("nan"), certificate)
    parts = Certificate(*(certificate[:, k] for k in range(len(Certificate._fields))))
    error = SAFETY * parts.error
    trusted = (parts.margin > float(np.sqrt(tol))) & (error <= MOST_ERROR[dtype])
    return Trust(parts.margin, parts.residual, parts.condition, error, trusted)


def apply_policy(solution: Solution, linear: Linear, touched: Any) -> Linear:
    """What the settings ask for in doubtful problems."""
    policy, library = solution.settings.untrusted, library_of(solution.x)
    if policy is Untrusted.LEAVE:
        return linear
    doubtful: Any = linear.doubtful
    if policy is Untrusted.RAISE:
        chosen = library.to_host(doubtful & touched[:, 0])
        if chosen.any():
            trust = Trust(**{k: library.to_host(v) for k, v in vars(linear.trust).items()})
            raise complaint(solution, linear._replace(trust=trust), chosen)
        return linear
    spoil = touched if policy is Untrusted.NAN else False
    found = blanked(library.module, linear.found, doubtful[:, None], spoil)
    return linear._replace(found=found)


# ---- gradients (14) ------------------------------------------------------------------------------


def gradients(problem: Problem, at: Vectors, d: Vectors, wanted: Collection[str]) -> dict[str, Any]:
    """Gradients of the arguments that are wanted, in their shapes."""
    x, z, y, z_box = at
    matrices = {
        "Q": (d.x / 2, x, x / 2, d.x),
        "G": (z, d.x, d.z, x),
        "A": (y, d.x, d.y, x),
    }
    vectors = {
        "q": lambda: d.x,
        "b": lambda: -d.y,
        "h": lambda: -d.z * (z >= 0),
        "h_lower": lambda: -d.z * (z < 0),
        "ub": lambda: -d.z_box * (z_box >= 0),
        "lb": lambda: -d.z_box * (z_box < 0),
    }
    found = {
        name: matrix_gradient(problem, name, *parts)
        for name, parts in matrices.items()
        if name in wanted
    }
    for name, vector in vectors.items():
        if name in wanted:
            found[name] = summed(problem, name, vector())
    return found


def matrix_gradient(problem: Problem, name: str, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The sum of a bᵀ + c dᵀ over the problems that share the matrix; one product if all do."""
    shape = problem.given_shapes[name]
    if np.prod(shape[:-2]) == 1:
        return (a.T @ b + c.T @ d).reshape(shape)
    return summed(problem, name, a[:, :, None] * b[:, None, :] + c[:, :, None] * d[:, None, :])


def summed(problem: Problem, name: str, each: Any) -> Any:
    """Gradients of each problem, summed over those that share an argument."""
    shape = problem.given_shapes[name]
    if not shape:
        return each.sum().reshape(())
    batch, core = problem.batch_shape, tuple(each.shape[1:])
    lead = (1,) * (len(batch) + len(core) - len(shape)) + shape[: len(shape) - len(core)]
    each = each.reshape((*batch, *core))
    for axis in reversed(range(len(batch))):
        if lead[axis] == 1 and batch[axis] != 1:
            each = each.sum(axis)
    return each.reshape(shape)
