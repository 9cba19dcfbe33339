"""The batched QP as given: checked once at the door, shared arguments kept once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from qpcore.arguments import CORE_AXES, NO_LIMIT, broadcasts, layout_of, lead_of
from qpcore.arrays import as_array, common_dtype, compact, made
from qpcore.errors import ProblemError
from qpcore.libraries import library_of


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
        return cls.of({
            "Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub, "h_lower": h_lower
        })  # fmt: skip

    @classmethod
    def of(cls, given: dict[str, Any]) -> Problem:
        """What `parse` makes of its arguments, by name and in its order."""
        arrays = {k: as_array(k, value) for k, value in given.items() if value is not None}
        shapes = {k: array.shape for k, array in arrays.items()}
        cores, batch_shape = layout_of(*shapes.items())
        dtype = common_dtype(given, arrays)
        fields: dict[str, Any] = dict.fromkeys(CORE_AXES)
        for name, core in cores.items():
            fields[name] = compact(arrays[name], core, dtype)
        given_shapes = shapes if len(cores) == len(shapes) else {k: shapes[k] for k in cores}
        return made(cls, **fields, batch_shape=batch_shape, given_shapes=given_shapes)

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
            return _absent(self.n, self.m, self.p, self.dtype)[name]
        return _one_axis(array, len(CORE_AXES[name]))

    def all_compact(self) -> list[np.ndarray]:
        """The distinct data of all arguments, in the order of `CORE_AXES`."""
        absent, given = _absent(self.n, self.m, self.p, self.dtype), self.__dict__
        return [
            absent[name] if given[name] is None else _one_axis(given[name], len(axes))
            for name, axes in CORE_AXES.items()
        ]

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
        lead = lead_of(name, array.shape)
        fits = array.shape[len(lead) :] == core or (name in NO_LIMIT and array.ndim == 0)
        if not fits or not broadcasts(lead, self.batch_shape):
            raise ProblemError(
                f"The tangent of {name} has shape {array.shape}; expected (*, "
                f"{', '.join(map(str, core))}) with batch axes * that broadcast to "
                f"{self.batch_shape}, those of the problem."
            )
        return compact(array, core, self.dtype)

    def index(self, name: str) -> np.ndarray:
        """Row of ``compact(name)`` that each problem uses: int64, (batch_size,), in C order."""
        array = getattr(self, name)
        lead = () if array is None else lead_of(name, array.shape)
        # The two common cases by themselves: broadcasting took a sixth of a solve of one problem.
        if math.prod(lead) == 1:
            return np.zeros(self.batch_size, np.int64)
        if lead == self.batch_shape:
            return np.arange(self.batch_size, dtype=np.int64)
        rows = np.arange(math.prod(lead), dtype=np.int64).reshape(lead)
        return np.broadcast_to(rows, self.batch_shape).reshape(self.batch_size)


@lru_cache(maxsize=64)
def _absent(n: int, m: int, p: int, dtype: np.dtype) -> Mapping[str, np.ndarray]:
    """What stands for arguments that are not there; kept, like `layout_of`."""
    sizes, arrays = {"n": n, "m": m, "p": p}, {}
    for name, axes in CORE_AXES.items():
        if name in NO_LIMIT or sizes[axes[0]] == 0:  # others are never absent
            core = [sizes[axis] for axis in axes]
            arrays[name] = np.full((1, *core), NO_LIMIT.get(name, 0.0), dtype)
            arrays[name].flags.writeable = False
    return MappingProxyType(arrays)


def _one_axis(array: np.ndarray, axes: int) -> np.ndarray:
    """Flatten all but the last axes to one, in C order."""
    lead = array.ndim - axes
    if lead == 1:
        return array
    return (
        array[None]
        if lead == 0
        else array.reshape(math.prod(array.shape[:lead]), *array.shape[lead:])
    )
