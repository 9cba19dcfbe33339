"""The batched QP as given: checked once at the door, shared arguments kept once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from qpcore.arguments import CORE_AXES, NO_LIMIT, Shapes, broadcasts, layout_of, lead_of
from qpcore.arrays import F32, F64, as_array, common_dtype, compact, made, once
from qpcore.errors import ProblemError
from qpcore.forms import Form, form_as_given, form_of
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
    given_shapes: Shapes
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
        return as_given(given) or cls._converted(given)

    @classmethod
    def _converted(cls, given: dict[str, Any]) -> Problem:
        """The same for arguments of any kind."""
        arrays = {k: as_array(k, value) for k, value in given.items() if value is not None}
        shapes = {k: array.shape for k, array in arrays.items()}
        cores, batch_shape = layout_of(*shapes.items())
        dtype = common_dtype(given, arrays)
        fields: dict[str, Any] = dict.fromkeys(CORE_AXES)
        for name, core in cores.items():
            fields[name] = compact(arrays[name], core, dtype)
        given_shapes = shapes if len(cores) == len(shapes) else {k: shapes[k] for k in cores}
        return made(cls, fields | {"batch_shape": batch_shape, "given_shapes": given_shapes})

    def __getstate__(self) -> dict[str, Any]:
        """All but the form, which copies find anew."""
        state = {name: value for name, value in self.__dict__.items() if name != "form"}
        return state | {"given_shapes": dict(self.given_shapes)}

    @once
    def form(self) -> Form:
        """What the arguments are like."""
        arrays = {name: getattr(self, name) for name in CORE_AXES}
        named = [(name, tuple(v.shape)) for name, v in arrays.items() if v is not None]
        return form_of(self.dtype, self.batch_shape, *named)

    @property
    def n(self) -> int:
        """Number of variables."""
        return self.form.n

    @property
    def m(self) -> int:
        """Number of rows of G."""
        return self.form.m

    @property
    def p(self) -> int:
        """Number of rows of A."""
        return self.form.p

    @property
    def dtype(self) -> np.dtype:
        """float64 or float32, of all arrays."""
        return self.Q.dtype

    @property
    def batch_size(self) -> int:
        """Number of problems: 1 for batch shape ()."""
        return self.form.batch_size

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
        return self.form.absent[name] if array is None else array.reshape(self.form.flat(name))

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
        return self.form.index(name)


def as_given(given: dict[str, Any]) -> Problem | None:
    """The problem of arguments that are as it keeps them, NumPy arrays of one dtype; else None.

    This is the usual case, in a third of the time that it takes to ask what they might be instead.
    """
    fields, names, shapes, dtype = dict(given), [], [], getattr(given["Q"], "dtype", None)
    if dtype is not F64 and dtype is not F32:
        return None
    for name, array in given.items():
        if array is None:
            continue
        if type(array) is not ndarray or array.dtype is not dtype:
            return None
        flags = array.flags
        if not (flags.c_contiguous and flags.aligned):
            return None
        names.append(name)
        shapes.append(array.shape)
        fields[name] = view = array.view()
        view.setflags(False)
    form = form_as_given(dtype, tuple(names), tuple(shapes))
    if form is None:
        return None
    fields["batch_shape"], fields["given_shapes"] = form.batch_shape, form.shapes
    fields["form"] = form
    return made(Problem, fields)
