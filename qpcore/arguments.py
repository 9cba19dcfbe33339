"""What the arguments of a QP are: their axes, and whether the shapes that came make one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from qpcore.errors import ProblemError

CORE_AXES = {
    "Q": "nn", "q": "n", "G": "mn", "h": "m", "A": "pn", "b": "p", "lb": "n", "ub": "n",
    "h_lower": "m",
}  # fmt: skip
"""The axes of one problem's arguments; batch axes stand before them."""

NO_LIMIT = {"h": np.inf, "h_lower": -np.inf, "lb": -np.inf, "ub": np.inf}
"""What a missing limit means. A single number given for one of these holds for all entries."""

DROPPED = 1e20
"""A limit of this magnitude or more is none: that side is dropped, in that problem."""

Shapes = Mapping[str, tuple[int, ...]]

_MATRIX = {"n": "Q", "m": "G", "p": "A"}  # whose shape says so
_ORDER = "arguments in another order than Q, q, G, h, A, b, lb, ub"


def layout(shapes: Shapes) -> tuple[Mapping[str, tuple[int, ...]], tuple[int, ...]]:
    """Core shape of each argument that has rows, and the batch shape.

    Raises
    ------
    ProblemError
        The shapes make no QP.
    """
    return layout_of(*shapes.items())


@lru_cache(maxsize=256)
def layout_of(
    *named: tuple[str, tuple[int, ...]],
) -> tuple[Mapping[str, tuple[int, ...]], tuple[int, ...]]:
    """The same; kept, because it takes a tenth of a solve of one problem. Errors are not."""
    shapes = dict(named)
    sizes = _sizes(shapes)
    _check_partners(shapes, sizes)
    cores = {name: tuple([sizes[axis] for axis in CORE_AXES[name]]) for name in shapes}
    for name, shape in shapes.items():
        _check_core(name, shape, cores[name], sizes)
    kept = {name: core for name, core in cores.items() if 0 not in core}
    return MappingProxyType(kept), _batch_shape(shapes)


def lead_of(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Batch axes of a shape; a single number has none."""
    return shape[: max(0, len(shape) - len(CORE_AXES[name]))]


def broadcasts(lead: tuple[int, ...], batch_shape: tuple[int, ...]) -> bool:
    """Whether batch axes broadcast to those of the problem without widening them."""
    if len(lead) > len(batch_shape):
        return False
    aligned = batch_shape[len(batch_shape) - len(lead) :]
    return all(size in (1, whole) for size, whole in zip(lead, aligned, strict=True))


def _sizes(shapes: Shapes) -> dict[str, int]:
    """Read n off Q, m off G and p off A."""
    for name in ("Q", "q"):
        if name not in shapes:
            raise ProblemError(f"{name} is None; expected an array. For a term of zero pass zeros.")
    for name in ("Q", "G", "A"):
        if name in shapes and len(shapes[name]) < 2:
            cause = "a diagonal, np.diag(v), or a single row, v[None, :], passed as a vector"
            raise _bad_shape(name, shapes[name], "(*, {}, {})".format(*CORE_AXES[name]), cause)
    rows, n = shapes["Q"][-2:]
    if rows != n or n == 0:
        cause = "Q and G exchanged, or a factor L passed in place of L @ L.T"
        raise _bad_shape("Q", shapes["Q"], "(*, n, n) with n >= 1", cause)
    m, p = (shapes[name][-2] if name in shapes else 0 for name in "GA")
    return {"n": n, "m": m, "p": p}


def _check_partners(shapes: Shapes, sizes: dict[str, int]) -> None:
    """Rows of a matrix need limits, and limits their matrix; zero rows need nothing."""
    for axis, sides in (("m", ("h", "h_lower")), ("p", ("b",))):
        matrix, given = _MATRIX[axis], [name for name in sides if name in shapes]
        if sizes[axis] and not given:
            raise ProblemError(
                f"{matrix} has shape {shapes[matrix]} but {' and '.join(sides)} came as "
                f"None; expected (*, {sizes[axis]}). Usual cause: {_ORDER}."
            )
        for name in given:
            if matrix not in shapes and shapes[name][-1:] != (0,):
                raise ProblemError(
                    f"{name} has shape {shapes[name]} but {matrix} came as None; expected "
                    f"{matrix} of shape (*, {axis}, n). Usual cause: limits on x itself, which are "
                    "called lb and ub."
                )


def _check_core(
    name: str, shape: tuple[int, ...], core: tuple[int, ...], sizes: dict[str, int]
) -> None:
    """Compare the last axes with the sizes; a single number does for a limit."""
    if shape[-len(core) :] == core or (name in NO_LIMIT and shape == ()):
        return
    if shape[-1:] == (1,):
        cause = f"a column, which is {name}[..., 0]; one number for all entries is a plain float"
    elif len(core) == 2 and shape[-2] == sizes["n"]:
        cause = f"a transposed matrix, which is {name}.swapaxes(-1, -2)"
    else:
        cause = f"a batch axis that is not first, or {_ORDER}"
    says = [
        f"{_MATRIX[axis]} says {axis} = {sizes[axis]}" for axis in dict.fromkeys(CORE_AXES[name])
    ]
    expected = f"(*, {', '.join(map(str, core))}), because {' and '.join(says)}"
    raise _bad_shape(name, shape, expected, cause)


def _bad_shape(name: str, shape: tuple[int, ...], expected: str, cause: str) -> ProblemError:
    return ProblemError(f"{name} has shape {shape}; expected {expected}. Usual cause: {cause}.")


def _batch_shape(shapes: Shapes) -> tuple[int, ...]:
    """Broadcast the batch axes of all arguments, also of those without rows."""
    leads = {name: lead_of(name, shape) for name, shape in shapes.items()}
    distinct = {lead for lead in leads.values() if lead}
    if len(distinct) <= 1:  # the usual case, and ten times faster than NumPy's answer
        return distinct.pop() if distinct else ()
    try:
        return np.broadcast_shapes(*distinct)
    except ValueError:
        listed = ", ".join(f"{name} {lead}" for name, lead in leads.items() if lead)
        raise ProblemError(
            f"The batch axes do not broadcast: {listed}. Expected sizes that are equal, 1 or "
            "missing, counted from the last batch axis. Usual cause: arguments of two batches, "
            "such as a smaller last one."
        ) from None
