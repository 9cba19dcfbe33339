"""The batched QP as given: checked once at the door, shared arguments kept once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from qpcore.arrays import as_array, common_dtype, compact
from qpcore.errors import ProblemError
from qpcore.libraries import library_of

CORE_AXES = {
    "Q": "nn", "q": "n", "G": "mn", "h": "m", "A": "pn", "b": "p", "lb": "n", "ub": "n",
    "h_lower": "m",
}  # fmt: skip
"""The axes of one problem's arguments; batch axes stand before them."""

NO_LIMIT = {"h": np.inf, "h_lower": -np.inf, "lb": -np.inf, "ub": np.inf}
"""What a missing limit means. A single number given for one of these holds for all entries."""

DROPPED = 1e20
"""A limit of this magnitude or more is none: that side is dropped, in that problem."""

_MATRIX = {"n": "Q", "m": "G", "p": "A"}  # whose shape says so
_ORDER = "arguments in another order than Q, q, G, h, A, b, lb, ub"


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of QPs, checked and compact; made by `Problem.parse`.

    Each problem of the batch reads ::

        minimise    0.5 x'Qx + q'x
        subject to  h_lower <= Gx <= h,   Ax = b,   lb <= x <= ub

    The arrays share one dtype, are C-contiguous and read-only, and are the caller's own memory
    where that was already so. A batch axis along which nothing varies has size 1 or is missing.
    """

    Q: np.ndarray
    """(*, n, n); enters through its symmetric part."""
    q: np.ndarray
    """(*, n)."""
    G: np.ndarray | None
    """(*, m, n), None when m = 0."""
    h: np.ndarray | None
    """(*, m), upper limits of Gx."""
    A: np.ndarray | None
    """(*, p, n), None when p = 0."""
    b: np.ndarray | None
    """(*, p)."""
    lb: np.ndarray | None
    """(*, n), lower limits of x."""
    ub: np.ndarray | None
    """(*, n), upper limits of x."""
    h_lower: np.ndarray | None
    """(*, m), lower limits of Gx."""
    batch_shape: tuple[int, ...]
    """All batch axes, broadcast against each other; () for a single problem."""
    given_shapes: dict[str, tuple[int, ...]]
    """Shape of each present argument as it came: expanded axes in full, () for a single number."""

    @classmethod
    def parse(
        cls,
        Q: Any,
        q: Any,
        G: Any = None,
        h: Any = None,
        A: Any = None,
        b: Any = None,
        lb: Any = None,
        ub: Any = None,
        h_lower: Any = None,
    ) -> Problem:
        """Check the arguments and bring them to compact form.

        Parameters
        ----------
        Q, q, G, h, A, b, lb, ub, h_lower : array_like
            NumPy arrays, nested lists, or CPU arrays that speak DLPack; shapes as in the
            attributes, where * is zero or more batch axes that broadcast against each other. None
            or zero rows mean absent. A single number for h, h_lower, lb or ub limits all entries
            alike. The dtype is float32 if all floating arrays are, else float64; Python numbers
            adapt.

        Raises
        ------
        ProblemError
            A shape, a dtype or a missing partner makes this no QP. Values never do.
        """
        values = {
            "Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub, "h_lower": h_lower
        }  # fmt: skip
        values = {name: value for name, value in values.items() if value is not None}
        arrays = {name: as_array(name, value) for name, value in values.items()}
        cores, batch_shape = layout(arrays)
        dtype = common_dtype(values.values(), arrays.values())
        fields: dict[str, Any] = dict.fromkeys(CORE_AXES)
        given_shapes = {}
        for name, array in arrays.items():
            if 0 not in cores[name]:
                fields[name] = compact(array, cores[name], dtype)
                given_shapes[name] = array.shape
        return cls(**fields, batch_shape=batch_shape, given_shapes=given_shapes)

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.Q.shape[-1]

    @property
    def m(self) -> int:
        """Number of rows of G."""
        return 0 if self.G is None else self.G.shape[-2]

    @property
    def p(self) -> int:
        """Number of rows of A."""
        return 0 if self.A is None else self.A.shape[-2]

    @property
    def dtype(self) -> np.dtype:
        """float64 or float32, of all arrays."""
        return self.Q.dtype

    @property
    def batch_size(self) -> int:
        """Number of problems: 1 for batch shape ()."""
        return math.prod(self.batch_shape)

    def on_host(self) -> Problem:
        """The same with NumPy arrays."""
        if isinstance(self.Q, np.ndarray):
            return self
        library = library_of(self.Q)
        fields = {name: getattr(self, name) for name in CORE_AXES}
        arrays = {name: v if v is None else library.to_host(v) for name, v in fields.items()}
        return replace(self, **arrays)

    def compact(self, name: str) -> np.ndarray:
        """Distinct data of one argument, (k, ...): batch axes flattened, k = 1 where shared.

        An absent argument gives one row that says the same: G, h, A, b without rows, limits at
        infinity.
        """
        array = getattr(self, name)
        if array is None:
            return _absent(name, self.n, self.m, self.p, self.dtype)
        lead = _lead(name, array)
        return array.reshape((math.prod(lead), *array.shape[len(lead) :]))

    def tangent(self, name: str, value: Any) -> np.ndarray:
        """Check a tangent of an argument: its batch axes must broadcast to the problem's.

        The result is compact, like the arguments themselves: what is shared is kept once.

        Raises
        ------
        ProblemError
            The argument is absent, or the shape does not fit.
        """
        if name not in self.given_shapes:
            raise ProblemError(
                f"The tangent of {name} came without {name}: the problem has none that could move."
            )
        sizes = {"n": self.n, "m": self.m, "p": self.p}
        array, core = as_array(name, value), tuple([sizes[axis] for axis in CORE_AXES[name]])
        lead = _lead(name, array)
        fits = array.shape[len(lead) :] == core or (name in NO_LIMIT and array.ndim == 0)
        if not fits or not _broadcasts(lead, self.batch_shape):
            raise ProblemError(
                f"The tangent of {name} has shape {array.shape}; expected (*, "
                f"{', '.join(map(str, core))}) with batch axes * that broadcast to "
                f"{self.batch_shape}, those of the problem."
            )
        return compact(array, core, self.dtype)

    def index(self, name: str) -> np.ndarray:
        """Row of ``compact(name)`` that each problem uses: int64, (batch_size,), in C order."""
        array = getattr(self, name)
        lead = () if array is None else _lead(name, array)
        # The two common cases by themselves: broadcasting took a sixth of a solve of one problem.
        if math.prod(lead) == 1:
            return np.zeros(self.batch_size, np.int64)
        if lead == self.batch_shape:
            return np.arange(self.batch_size, dtype=np.int64)
        rows = np.arange(math.prod(lead), dtype=np.int64).reshape(lead)
        return np.broadcast_to(rows, self.batch_shape).reshape(self.batch_size)


def layout(arrays: dict[str, Any]) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """Core shape of each argument, and the batch shape, by the shapes of any library's arrays.

    Raises
    ------
    ProblemError
        The shapes make no QP.
    """
    sizes = _sizes(arrays)
    _check_partners(arrays, sizes)
    cores = {name: tuple([sizes[axis] for axis in CORE_AXES[name]]) for name in arrays}
    for name, array in arrays.items():
        _check_core(name, array, cores[name], sizes)
    return cores, _batch_shape(arrays)


@lru_cache(maxsize=64)
def _absent(name: str, n: int, m: int, p: int, dtype: np.dtype) -> np.ndarray:
    """What stands for an argument that is not there; kept, for it would be made in every solve."""
    core = [{"n": n, "m": m, "p": p}[axis] for axis in CORE_AXES[name]]
    array = np.full((1, *core), NO_LIMIT.get(name, 0.0), dtype)
    array.flags.writeable = False
    return array


def _lead(name: str, array: np.ndarray) -> tuple[int, ...]:
    """Batch axes of an array; a single number has none."""
    return array.shape[: max(0, array.ndim - len(CORE_AXES[name]))]


def _broadcasts(lead: tuple[int, ...], batch_shape: tuple[int, ...]) -> bool:
    """Whether batch axes broadcast to those of the problem without widening them."""
    if len(lead) > len(batch_shape):
        return False
    aligned = batch_shape[len(batch_shape) - len(lead) :]
    return all(size in (1, whole) for size, whole in zip(lead, aligned, strict=True))


def _sizes(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """Read n off Q, m off G and p off A."""
    for name in ("Q", "q"):
        if name not in arrays:
            raise ProblemError(f"{name} is None; expected an array. For a term of zero pass zeros.")
    for name in ("Q", "G", "A"):
        if name in arrays and arrays[name].ndim < 2:
            cause = "a diagonal, np.diag(v), or a single row, v[None, :], passed as a vector"
            raise _bad_shape(name, arrays[name], "(*, {}, {})".format(*CORE_AXES[name]), cause)
    rows, n = arrays["Q"].shape[-2:]
    if rows != n or n == 0:
        cause = "Q and G exchanged, or a factor L passed in place of L @ L.T"
        raise _bad_shape("Q", arrays["Q"], "(*, n, n) with n >= 1", cause)
    m, p = (arrays[name].shape[-2] if name in arrays else 0 for name in "GA")
    return {"n": n, "m": m, "p": p}


def _check_partners(arrays: dict[str, np.ndarray], sizes: dict[str, int]) -> None:
    """Rows of a matrix need limits, and limits their matrix; zero rows need nothing."""
    for axis, sides in (("m", ("h", "h_lower")), ("p", ("b",))):
        matrix, given = _MATRIX[axis], [name for name in sides if name in arrays]
        if sizes[axis] and not given:
            raise ProblemError(
                f"{matrix} has shape {arrays[matrix].shape} but {' and '.join(sides)} came as "
                f"None; expected (*, {sizes[axis]}). Usual cause: {_ORDER}."
            )
        for name in given:
            if matrix not in arrays and arrays[name].shape[-1:] != (0,):
                raise ProblemError(
                    f"{name} has shape {arrays[name].shape} but {matrix} came as None; expected "
                    f"{matrix} of shape (*, {axis}, n). Usual cause: limits on x itself, which are "
                    "called lb and ub."
                )


def _check_core(name: str, array: np.ndarray, core: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Compare the last axes with the sizes; a single number does for a limit."""
    if tuple(array.shape[-len(core) :]) == core or (name in NO_LIMIT and array.ndim == 0):
        return
    if array.shape[-1:] == (1,):
        cause = f"a column, which is {name}[..., 0]; one number for all entries is a plain float"
    elif len(core) == 2 and array.shape[-2] == sizes["n"]:
        cause = f"a transposed matrix, which is {name}.swapaxes(-1, -2)"
    else:
        cause = f"a batch axis that is not first, or {_ORDER}"
    says = [
        f"{_MATRIX[axis]} says {axis} = {sizes[axis]}" for axis in dict.fromkeys(CORE_AXES[name])
    ]
    expected = f"(*, {', '.join(map(str, core))}), because {' and '.join(says)}"
    raise _bad_shape(name, array, expected, cause)


def _bad_shape(name: str, array: np.ndarray, expected: str, cause: str) -> ProblemError:
    return ProblemError(
        f"{name} has shape {array.shape}; expected {expected}. Usual cause: {cause}."
    )


def _batch_shape(arrays: dict[str, np.ndarray]) -> tuple[int, ...]:
    """Broadcast the batch axes of all arguments, also of those without rows."""
    leads = {name: _lead(name, array) for name, array in arrays.items()}
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
